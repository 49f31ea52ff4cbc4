//! The tests that the pages on security name exist, and the pages leave no attack out.

use std::fs;

use super::{read, root};

/// Pages that name tests as links: the test's name in code, to the file that holds it.
const PAGES: [&str; 2] = ["docs/security.md", "docs/attacks.md"];
/// The attacks of the first two chapters, and those of the others that are tried so far.
const ATTACKS: [&str; 28] = [
    "1", "2", "3", "4", "5", "6", "7", "8", "8a", "9", "10", "11", "12", "13", "14", "15", "16",
    "17", "18", "20", "21", "22", "23", "24", "38", "39", "40", "41",
];

/// Name and file of each test that a text names.
fn named(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for part in text.split("[`").skip(1) {
        let Some((name, rest)) = part.split_once("`](../") else { continue };
        let Some((file, _)) = rest.split_once(')') else { continue };
        if file.ends_with(".rs") {
            found.push((name.to_owned(), file.to_owned()));
        }
    }
    found
}

#[test]
fn the_tests_that_pages_name_exist() {
    let mut wrong = Vec::new();
    for page in PAGES {
        let tests = named(&read(page));
        assert!(tests.len() > 20, "{page} names {} tests", tests.len());
        for (name, file) in tests {
            let source = fs::read_to_string(root().join(&file)).unwrap_or_default();
            if !source.contains(&format!("fn {name}(")) {
                wrong.push(format!("{page}: there is no {name} in {file}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_attack_has_its_tests() {
    let page = read("docs/attacks.md");
    let rows: Vec<(&str, usize)> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| "))
        .filter_map(|line| Some((line.split_once(" | ")?.0, named(line).len())))
        .filter(|(number, _)| number.starts_with(|c: char| c.is_ascii_digit()))
        .collect();
    let numbers: Vec<&str> = rows.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, ATTACKS, "docs/attacks.md");
    let without: Vec<&str> =
        rows.iter().filter(|(_, tests)| *tests == 0).map(|(n, _)| *n).collect();
    assert!(without.is_empty(), "no test for {without:?}");
}
