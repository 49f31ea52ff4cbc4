//! The XML of AWS answers, as a tree of names and texts.

use quick_xml::{Reader, events::Event};

/// Elements within elements.
const DEPTH_MAX: usize = 64;

/// An element.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Node {
    name: String,
    text: String,
    children: Vec<Node>,
}

/// A text that is no XML, or goes too deep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoXml;

impl Node {
    /// Reads a document; the node is its outermost element.
    pub(super) fn parse(text: &str) -> Result<Self, NoXml> {
        let mut reader = Reader::from_str(text);
        let mut open = vec![Self::default()];
        loop {
            match reader.read_event().map_err(|_| NoXml)? {
                Event::Start(start) => {
                    if open.len() > DEPTH_MAX {
                        return Err(NoXml);
                    }
                    let name = String::from_utf8_lossy(start.local_name().as_ref()).into_owned();
                    open.push(Self { name, ..Self::default() });
                }
                Event::Empty(empty) => {
                    let name = String::from_utf8_lossy(empty.local_name().as_ref()).into_owned();
                    let parent = open.last_mut().ok_or(NoXml)?;
                    parent.children.push(Self { name, ..Self::default() });
                }
                Event::End(_) => {
                    let node = open.pop().ok_or(NoXml)?;
                    open.last_mut().ok_or(NoXml)?.children.push(node);
                }
                Event::Text(said) => {
                    let said = said.decode().map_err(|_| NoXml)?;
                    open.last_mut().ok_or(NoXml)?.text.push_str(&said);
                }
                Event::GeneralRef(entity) => {
                    let name = entity.decode().map_err(|_| NoXml)?;
                    let said = match entity.resolve_char_ref().map_err(|_| NoXml)? {
                        Some(c) => c.to_string(),
                        None => quick_xml::escape::resolve_predefined_entity(&name)
                            .ok_or(NoXml)?
                            .to_owned(),
                    };
                    open.last_mut().ok_or(NoXml)?.text.push_str(&said);
                }
                Event::CData(said) => {
                    let said = String::from_utf8_lossy(&said).into_owned();
                    open.last_mut().ok_or(NoXml)?.text.push_str(&said);
                }
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
                Event::Eof => break,
            }
        }
        let outermost = open.pop().filter(|_| open.is_empty()).ok_or(NoXml)?;
        outermost.children.into_iter().next().ok_or(NoXml)
    }

    /// The first child of that name.
    pub(super) fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// Where a path of names leads.
    pub(super) fn at(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |node, name| node.child(name))
    }

    /// The text of the first child of that name, if it says anything.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.child(name).map(|child| child.text.trim()).filter(|text| !text.is_empty())
    }

    /// The elements of the list of that name.
    pub(super) fn items(&self, name: &str) -> impl Iterator<Item = &Self> {
        let items = self.child(name).map(|list| list.children.as_slice()).unwrap_or_default();
        items.iter().filter(|item| item.name == "item")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_a_tree() {
        let text =
            "<?xml version=\"1.0\"?><a xmlns=\"x\"><s><item><k>n &amp; &#109;</k></item><item/></s>
            <t> one </t><u/></a>";
        let node = Node::parse(text).unwrap();
        assert_eq!(node.text("t"), Some("one"));
        assert_eq!(node.text("u"), None);
        assert_eq!(node.items("s").count(), 2);
        assert_eq!(node.at(&["s", "item"]).unwrap().text("k"), Some("n & m"));
        assert_eq!(node.items("none").count(), 0);
    }

    #[test]
    fn what_is_no_document_is_refused() {
        let deep = "<a>".repeat(100);
        for text in ["", "<a>", "<a></b>", "nothing", &deep] {
            assert_eq!(Node::parse(text), Err(NoXml), "{text}");
        }
    }
}
