//! What a query or a form holds, by name, as texts; and queries for links.

use form_urlencoded::Serializer;

/// Fields of a query or a form, in their order.
#[derive(Debug, Clone, Default)]
pub(super) struct Fields(Vec<(String, String)>);

impl Fields {
    /// Reads `application/x-www-form-urlencoded` (URL standard, section 5.1), which no text breaks.
    pub(super) fn parse(bytes: &[u8]) -> Self {
        let pairs = form_urlencoded::parse(bytes);
        Self(pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect())
    }

    /// The first value as it was typed; empty where there is none.
    pub(super) fn text(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value.as_str())
    }

    /// The first value without blanks around it, unless nothing is left.
    pub(super) fn given(&self, name: &str) -> Option<&str> {
        Some(self.text(name).trim()).filter(|text| !text.is_empty())
    }

    /// The same as text of its own.
    pub(super) fn owned(&self, name: &str) -> Option<String> {
        self.given(name).map(str::to_owned)
    }

    /// Whether a box was ticked.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }

    /// The fields of this name alone.
    pub(super) fn only(&self, name: &str) -> Self {
        Self(self.0.iter().filter(|(known, _)| known == name).cloned().collect())
    }

    /// All fields but those of this name.
    pub(super) fn without(&self, name: &str) -> Self {
        Self(self.0.iter().filter(|(known, _)| known != name).cloned().collect())
    }

    /// Every value of a name.
    pub(super) fn all<'f>(&'f self, name: &'f str) -> impl Iterator<Item = &'f str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// A link with a query; pairs without a value are left out.
pub(super) fn link<'a>(
    path: &str,
    pairs: impl IntoIterator<Item = (&'a str, Option<&'a str>)>,
) -> String {
    let mut query = Serializer::new(String::new());
    for (name, value) in pairs {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            query.append_pair(name, value);
        }
    }
    let query = query.finish();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

/// The same list under other filters: the names that it knows as the query has them, but for those in
/// `other`, which may also add one.
pub(super) fn relink<'a>(
    path: &str,
    names: &[&'a str],
    query: &'a Fields,
    other: &[(&'a str, Option<&'a str>)],
) -> String {
    let kept = names.iter().filter(|name| !other.iter().any(|(known, _)| known == *name));
    let kept = kept.map(|name| (*name, query.given(name)));
    link(path, kept.chain(other.iter().copied()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_name_and_blanks_are_nothing() {
        let fields = Fields::parse(b"q=a%20b&label=%20&id=1&id=2&all=&bad=%ff%");
        assert_eq!(fields.text("q"), "a b");
        assert_eq!((fields.given("label"), fields.given("none")), (None, None));
        assert_eq!(fields.all("id").collect::<Vec<_>>(), ["1", "2"]);
        assert!(fields.has("all") && !fields.has("none"));
    }

    #[test]
    fn a_list_is_linked_under_other_filters() {
        let query = Fields::parse(b"q=a&region=eu&cursor=xyz&odd=1");
        let names = ["q", "region"];
        assert_eq!(relink("/l", &names, &query, &[]), "/l?q=a&region=eu");
        assert_eq!(relink("/l", &names, &query, &[("q", None)]), "/l?region=eu");
        let onward = [("cursor", Some("n"))];
        assert_eq!(relink("/l", &names, &query, &onward), "/l?q=a&region=eu&cursor=n");
    }

    #[test]
    fn a_link_holds_what_is_given_and_escapes_it() {
        let pairs = [("q", Some("a&b=c")), ("status", None), ("health", Some(""))];
        assert_eq!(link("/console/agents", pairs), "/console/agents?q=a%26b%3Dc");
        assert_eq!(link("/console", []), "/console");
    }
}
