//! The paths that Rust source text names: `use` trees taken apart, and paths in code.
//!
//! *Invariant:* comments and literals name nothing. Text inside macros counts like any other code.

/// A path, segment by segment: `use a::{b, c::d}` names `[a, b]` and `[a, c, d]`.
pub(crate) type NamedPath = Vec<String>;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    PathSeparator,
    Other(char),
}

/// Every path that `source` names. A word alone is a path only after `use`: elsewhere it is a
/// variable, a field or a method.
pub(crate) fn named(source: &str) -> Vec<NamedPath> {
    let tokens = tokens(source);
    let mut paths = Vec::new();
    let (mut at, mut used) = (0, false);
    while let Some(token) = tokens.get(at) {
        at = match token {
            Token::Word(word) if word == "use" => {
                used = true;
                at + 1
            }
            Token::Word(_) => {
                let before = paths.len();
                let end = tree(&tokens, at, &[], &mut paths);
                if !used && paths.get(before).is_some_and(|path| path.len() == 1) {
                    paths.truncate(before);
                }
                used = false;
                end
            }
            Token::Other('{') if used => {
                used = false;
                group(&tokens, at + 1, &[], &mut paths)
            }
            Token::PathSeparator => at + 1,
            Token::Other(_) => {
                used = false;
                at + 1
            }
        };
    }
    paths
}

/// Reads a path, with its group where one follows, from `at`; answers where it ends.
fn tree(tokens: &[Token], mut at: usize, prefix: &[String], paths: &mut Vec<NamedPath>) -> usize {
    let mut path = prefix.to_vec();
    while let Some(Token::Word(word)) = tokens.get(at) {
        path.push(word.clone());
        at += 1;
        if tokens.get(at) != Some(&Token::PathSeparator) {
            break;
        }
        at += 1;
        if tokens.get(at) == Some(&Token::Other('{')) {
            return group(tokens, at + 1, &path, paths);
        }
    }
    paths.push(path);
    at
}

fn group(tokens: &[Token], mut at: usize, prefix: &[String], paths: &mut Vec<NamedPath>) -> usize {
    loop {
        at = match tokens.get(at) {
            None => return at,
            Some(Token::Other('}')) => return at + 1,
            Some(Token::Word(_)) => tree(tokens, at, prefix, paths),
            Some(Token::PathSeparator | Token::Other(_)) => at + 1,
        };
    }
}

fn tokens(source: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let taken = if let Some(length) = ignored(rest) {
            length
        } else if is_word(first) {
            let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            tokens.push(Token::Word(rest[..length].to_owned()));
            length
        } else if rest.starts_with("::") {
            tokens.push(Token::PathSeparator);
            2
        } else {
            if !first.is_whitespace() {
                tokens.push(Token::Other(first));
            }
            first.len_utf8()
        };
        rest = &rest[taken..];
    }
    tokens
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Length of the comment or literal that `rest` begins with.
fn ignored(rest: &str) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return Some(rest.find("*/").map_or(rest.len(), |end| end + 2));
    }
    for prefix in ["r", "br", ""] {
        let Some(tail) = rest.strip_prefix(prefix) else { continue };
        let marks = tail.len() - tail.trim_start_matches('#').len();
        let raw = !prefix.is_empty();
        if (raw || marks == 0) && tail[marks..].starts_with('"') {
            let body = prefix.len() + marks + 1;
            return Some(body + literal(&rest[body..], raw, marks));
        }
    }
    character(rest)
}

/// Length of a string's text, its closing mark included.
fn literal(text: &str, raw: bool, marks: usize) -> usize {
    if raw {
        let close = format!("\"{}", "#".repeat(marks));
        return text.find(&close).map_or(text.len(), |end| end + close.len());
    }
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Length of a character literal, which a lifetime is not.
fn character(rest: &str) -> Option<usize> {
    let tail = rest.strip_prefix('\'')?;
    let mut chars = tail.char_indices();
    let (_, first) = chars.next()?;
    if first == '\\' {
        return tail[2..].find('\'').map(|end| end + 4);
    }
    let (end, next) = chars.next()?;
    (next == '\'').then_some(end + 2)
}

#[test]
fn use_trees_are_taken_apart() {
    let source =
        "use std::{fs, net::{self, IpAddr as _}, sync::*};\nlet x = crate::app::App::new();";
    let paths: Vec<String> = named(source).iter().map(|path| path.join("::")).collect();
    for wanted in ["std::fs", "std::net::self", "std::net::IpAddr", "crate::app::App::new"] {
        assert!(paths.iter().any(|path| path == wanted), "{wanted} of {paths:?}");
    }
}

#[test]
fn comments_and_literals_name_nothing() {
    let source = r##"
        //! axum::Router
        /* sqlx::query */
        let a = ("hyper \" ::x", r#"tokio "::fs"#, b'"', '"', '\'', "end");
        fn f<'tonic>(x: &'tonic str) { x.connectrpc(); std::mem::drop(tower) }
    "##;
    let words: Vec<String> = named(source).into_iter().flatten().collect();
    for hidden in ["axum", "sqlx", "hyper", "tokio", "end", "tonic", "connectrpc", "tower"] {
        assert!(!words.iter().any(|word| word == hidden), "{hidden} of {words:?}");
    }
    assert!(words.iter().any(|word| word == "drop"));
}

#[test]
fn a_crate_used_whole_is_a_path() {
    for source in ["use sqlx as database;", "use ::sqlx;", "use {sqlx, tokio::sync};"] {
        assert!(named(source).iter().any(|path| path[0] == "sqlx"), "{source}");
    }
}
