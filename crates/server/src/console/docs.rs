//! The documentation, as it is in the repository, for whoever can reach the server.
//!
//! *Invariant:* only what lies below `docs/` is served. Raw HTML in a page is shown as text.

use askama::Template;
use axum::{
    extract::{FromRequestParts as _, Path, Request, State},
    http::header,
    response::{IntoResponse as _, Response},
};
use pulldown_cmark::{CodeBlockKind, CowStr, Event, Options, Parser, Tag, TagEnd, html};
use rust_embed::RustEmbed;

use super::{
    answer::{Refused, Shown, page},
    diagram,
    frame::{Frame, Theme},
    visit::Visit,
};
use crate::app::{App, error::AppError};

#[derive(RustEmbed)]
#[folder = "../../docs/"]
struct Pages;

/// What stands first in the list of pages; the others follow by name.
const FIRST: [&str; 6] = ["concepts", "console", "enrolment", "inventory", "commands", "users"];
/// Folders of pages that are for those who change Argosy.
const INNER: [&str; 2] = ["adr/", "rfcs/"];

/// A page in the list.
struct Entry {
    path: String,
    title: String,
    about: String,
}

#[derive(Template)]
#[template(path = "docs.html")]
struct DocsPage {
    frame: Frame,
    entries: Vec<Entry>,
    inner: Vec<Entry>,
}

#[derive(Template)]
#[template(path = "doc.html")]
struct DocPage {
    frame: Frame,
    html: String,
}

fn source(name: &str) -> Option<String> {
    let file = Pages::get(&format!("{name}.md"))?;
    String::from_utf8(file.data.into_owned()).ok()
}

/// The heading of a page and its first sentence.
fn entry(name: &str) -> Option<Entry> {
    let text = source(name)?;
    let mut lines = text.lines();
    let title = lines.find_map(|line| line.strip_prefix("# "))?.to_owned();
    let plain = |line: &&str| !line.is_empty() && !line.starts_with(['#', '|', '-', '`', '<', '*']);
    let paragraph: Vec<&str> = lines.skip_while(|line| !plain(line)).take_while(plain).collect();
    let paragraph = paragraph.join(" ");
    let end = paragraph.find(". ").map_or(paragraph.len(), |at| at + 1);
    let mut about = String::new();
    for event in Parser::new(&paragraph[..end]) {
        if let Event::Text(text) | Event::Code(text) = event {
            about.push_str(&text);
        }
    }
    Some(Entry { path: format!("/docs/{name}"), title, about })
}

fn is_inner(name: &str) -> bool {
    INNER.iter().any(|folder| name.starts_with(folder))
}

fn entries(inner: bool) -> Vec<Entry> {
    let names = Pages::iter().filter_map(|file| file.strip_suffix(".md").map(str::to_owned));
    let mut names: Vec<String> = names.filter(|name| is_inner(name) == inner).collect();
    let place = |name: &String| FIRST.iter().position(|first| first == name).unwrap_or(FIRST.len());
    names.sort_by_key(|name| (place(name), name.clone()));
    names.iter().filter_map(|name| entry(name)).collect()
}

/// Where a link of a page leads here; none for what is not served.
fn target(page: &str, link: &str) -> Option<String> {
    if link.contains("://") || link.starts_with('#') {
        return Some(link.to_owned());
    }
    let (file, heading) = link.split_once('#').map_or((link, None), |(f, h)| (f, Some(h)));
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in file.split('/') {
        match part {
            "." | "" => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    let whole = parts.join("/");
    Pages::get(&whole)?;
    let path = whole.strip_suffix(".md").unwrap_or(&whole);
    Some(heading.map_or_else(|| format!("/docs/{path}"), |h| format!("/docs/{path}#{h}")))
}

/// The anchor of a heading, as repository hosts make it.
fn anchor(heading: &str) -> String {
    let text = heading.trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// The text of the heading that begins at `at`.
fn heading_text(events: &[Event<'_>], at: usize) -> String {
    let inside = events[at..].iter().take_while(|e| !matches!(e, Event::End(TagEnd::Heading(_))));
    let texts = inside.filter_map(|event| {
        let (Event::Text(text) | Event::Code(text)) = event else { return None };
        Some(text.to_string())
    });
    texts.collect()
}

/// The text of the code block that begins at `at`.
fn block_text(events: &[Event<'_>], at: usize) -> String {
    let inside = events[at..].iter().take_while(|e| !matches!(e, Event::End(TagEnd::CodeBlock)));
    let texts = inside.filter_map(|event| {
        let Event::Text(text) = event else { return None };
        Some(text.as_ref())
    });
    texts.collect()
}

/// What repository hosts draw from its text, and [`diagram`] here.
fn is_diagram(kind: &CodeBlockKind<'_>) -> bool {
    matches!(kind, CodeBlockKind::Fenced(language) if language.as_ref() == "mermaid")
}

fn raw(html: impl Into<String>) -> Event<'static> {
    Event::Html(CowStr::from(html.into()))
}

/// Whether the code block that ends at `at` is a diagram.
fn ends_diagram(events: &[Event<'_>], at: usize) -> bool {
    let begin = events[..at].iter().rev().find_map(|event| {
        let Event::Start(Tag::CodeBlock(kind)) = event else { return None };
        Some(is_diagram(kind))
    });
    begin.unwrap_or(false)
}

/// What stands in a page of this server in place of an event of its source.
#[expect(clippy::wildcard_enum_match_arm, reason = "whatever else there is stays as it is")]
fn placed<'a>(name: &str, events: &[Event<'a>], at: usize) -> Vec<Event<'a>> {
    let event = events[at].clone();
    match event {
        Event::Start(Tag::Heading { level, .. }) => {
            let id = anchor(&heading_text(events, at));
            vec![raw(format!("<h{} id=\"{id}\">", level as usize))]
        }
        Event::End(TagEnd::Heading(level)) => vec![raw(format!("</h{}>\n", level as usize))],
        Event::Start(Tag::Link { dest_url, title, link_type, id }) => {
            vec![match target(name, &dest_url) {
                Some(to) => Event::Start(Tag::Link { link_type, dest_url: to.into(), title, id }),
                // What is not served here is named and leads nowhere.
                None => raw("<a>"),
            }]
        }
        Event::Start(Tag::Image { dest_url, title, link_type, id }) => {
            let dest_url = target(name, &dest_url).unwrap_or_default().into();
            vec![Event::Start(Tag::Image { link_type, dest_url, title, id })]
        }
        Event::Start(Tag::CodeBlock(ref kind)) if is_diagram(kind) => {
            let drawn = diagram::drawn(&block_text(events, at)).unwrap_or_default();
            let text = "<details><summary>The diagram as text</summary>";
            vec![raw(format!("{drawn}\n{text}\n")), event]
        }
        Event::End(TagEnd::CodeBlock) if ends_diagram(events, at) => {
            vec![event, raw("</details>\n")]
        }
        Event::Start(Tag::Table(_)) => {
            let tables = events[..at].iter().filter(|e| matches!(e, Event::End(TagEnd::Table)));
            let label = format!("Table {}", tables.count() + 1);
            let region =
                format!(r#"<div class="scroll" tabindex="0" role="region" aria-label="{label}">"#);
            vec![raw(region), event]
        }
        Event::End(TagEnd::Table) => vec![event, raw("</div>\n")],
        Event::Html(text) | Event::InlineHtml(text) => vec![Event::Text(text)],
        other => vec![other],
    }
}

/// A page as HTML.
fn rendered(name: &str, text: &str) -> String {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
    let events: Vec<Event<'_>> = Parser::new_ext(text, options).collect();
    let placed = (0..events.len()).flat_map(|at| placed(name, &events, at));
    let mut page = String::new();
    html::push_html(&mut page, placed);
    page
}

/// Around a page of the documentation, for whoever reads it.
async fn frame(app: &App, request: Request, title: &str) -> Frame {
    let (mut parts, _) = request.into_parts();
    let theme = Theme::of(&parts.headers);
    match Visit::from_request_parts(&mut parts, app).await {
        Ok(visit) => visit.frame(title, "docs").await,
        Err(_) => Frame::outside(title, theme),
    }
}

/// The list of pages.
pub(super) async fn index(State(app): State<App>, request: Request) -> Shown {
    let frame = frame(&app, request, "Help").await;
    page(&DocsPage { frame, entries: entries(false), inner: entries(true) })
}

fn picture(name: &str) -> Option<Response> {
    let kind = match name.rsplit_once('.')?.1 {
        "png" => "image/png",
        "svg" => "image/svg+xml",
        _ => return None,
    };
    let file = Pages::get(name)?;
    let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "public, max-age=3600")];
    Some((headers, file.data.into_owned()).into_response())
}

/// A page, or a picture in one.
pub(super) async fn show(
    State(app): State<App>,
    Path(name): Path<String>,
    request: Request,
) -> Shown {
    if let Some(picture) = picture(&name) {
        return Ok(picture);
    }
    let missing = || Refused(AppError::not_found("page"));
    let entry = entry(&name).ok_or_else(missing)?;
    let text = source(&name).ok_or_else(missing)?;
    let frame = frame(&app, request, &entry.title).await;
    page(&DocPage { frame, html: rendered(&name, &text) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_between_pages_lead_to_pages_here() {
        assert_eq!(target("users", "access.md#the-matrix").unwrap(), "/docs/access#the-matrix");
        assert_eq!(target("adr/README", "../users.md").unwrap(), "/docs/users");
        assert_eq!(target("users", "#passwords").unwrap(), "#passwords");
        assert_eq!(target("users", "../README.md"), None);
        assert_eq!(target("users", "../../../etc/passwd"), None);
    }

    #[test]
    fn every_page_has_a_title_and_is_drawn() {
        let all: Vec<Entry> = entries(false).into_iter().chain(entries(true)).collect();
        assert!(all.len() > 10);
        assert_eq!(all[0].path, "/docs/concepts");
        for entry in all {
            let name = entry.path.trim_start_matches("/docs/");
            let html = rendered(name, &source(name).unwrap());
            assert!(html.contains("<h1 id="), "{name}");
            assert!(!html.contains("<script"), "{name}");
        }
    }

    #[test]
    fn every_diagram_of_the_pages_is_drawn() {
        let mut drawn = 0;
        for entry in entries(false).into_iter().chain(entries(true)) {
            let name = entry.path.trim_start_matches("/docs/").to_owned();
            // What those who write one begin with shows how a diagram is written.
            if name.ends_with("0000-template") {
                continue;
            }
            let text = source(&name).unwrap();
            let wanted = text.matches("```mermaid").count();
            let found = rendered(&name, &text).matches("<svg class=\"diagram\"").count();
            assert_eq!(found, wanted, "{name}");
            drawn += found;
        }
        assert!(drawn > 5);
    }

    #[test]
    fn raw_html_is_text() {
        let html = rendered("users", "# T\n\n<script>alert(1)</script>\n\na <b onclick=x>b</b>");
        assert!(!html.contains("<script>") && !html.contains("<b "), "{html}");
    }
}
