//! Shell blocks of the documentation: found in a page, made into one script, compared with what it
//! printed.
//!
//! A block marked `console` holds commands after `$ ` (a line that ends in a backslash goes on in
//! the next one) and, below a command, sample output. In a sample `…` stands for any text, a line
//! `…` for any lines; spaces count as one.

/// Begins the echo of a command in what the script prints. No program prints it.
const MARK: char = '\u{1}';

/// A command of a page, and the output that the page shows below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) command: String,
    pub(crate) sample: Vec<String>,
}

/// Every command of the blocks marked `console`, in order.
pub(crate) fn commands(page: &str) -> Vec<Shown> {
    let mut found: Vec<Shown> = Vec::new();
    let (mut inside, mut goes_on) = (false, false);
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            inside = !inside && line.trim() == "```console";
            goes_on = false;
        } else if !inside {
        } else if let Some(command) = line.strip_prefix("$ ") {
            goes_on = line.ends_with('\\');
            found.push(Shown { command: command.to_owned(), sample: Vec::new() });
        } else if let Some(last) = found.last_mut() {
            if goes_on {
                goes_on = line.ends_with('\\');
                last.command.push('\n');
                last.command.push_str(line);
            } else {
                last.sample.push(line.to_owned());
            }
        }
    }
    found
}

/// A script that runs the commands in one shell and stops at the first that fails.
pub(crate) fn script(commands: &[Shown]) -> String {
    let mut script =
        String::from("set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n");
    for shown in commands {
        let quoted = shown.command.replace('\'', "'\\''");
        script.push_str(&format!("printf '%s\\n' '{MARK}$ {quoted}'\n{}\n", shown.command));
    }
    script
}

/// Samples that are not what was printed, each with the command that it stands below.
pub(crate) fn differences(commands: &[Shown], printed: &str) -> Vec<String> {
    let outputs = printed.split(MARK).skip(1);
    let mut wrong = Vec::new();
    for (shown, output) in commands.iter().zip(outputs) {
        let lines: Vec<&str> = output.lines().skip(shown.command.lines().count()).collect();
        let sample: Vec<&str> = shown.sample.iter().map(String::as_str).collect();
        if !sample.iter().all(|line| line.trim().is_empty()) && !fits(&sample, &lines) {
            let (sample, lines) = (sample.join("\n"), lines.join("\n"));
            wrong.push(format!("$ {}\n{sample}\n--- printed:\n{lines}", shown.command));
        }
    }
    wrong
}

/// Whether lines are what a sample shows. Empty lines do not count.
fn fits(sample: &[&str], lines: &[&str]) -> bool {
    match (sample.split_first(), lines.split_first()) {
        (Some((shown, sample)), _) if shown.trim().is_empty() => fits(sample, lines),
        (_, Some((line, lines))) if line.trim().is_empty() => fits(sample, lines),
        (None, rest) => rest.is_none(),
        (Some((&"…", sample)), None) => fits(sample, lines),
        (Some((&"…", after)), Some((_, rest))) => fits(after, lines) || fits(sample, rest),
        (Some(_), None) => false,
        (Some((shown, sample)), Some((line, lines))) => {
            fits_line(&words(shown), &words(line)) && fits(sample, lines)
        }
    }
}

fn words(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn fits_line(shown: &str, line: &str) -> bool {
    let Some((first, rest)) = shown.split_once('…') else { return shown == line };
    let Some(mut tail) = line.strip_prefix(first) else { return false };
    let mut pieces: Vec<&str> = rest.split('…').collect();
    let last = pieces.pop().unwrap_or_default();
    for piece in pieces {
        match tail.split_once(piece) {
            Some((_, after)) => tail = after,
            None => return false,
        }
    }
    tail.ends_with(last)
}

#[test]
fn commands_and_samples_are_told_apart() {
    let page =
        "```sh\n$ no\n```\n```console\n$ a \\\n  -b\nout\n$ c\n```\ntext\n```console\n$ d\n```";
    let shown = |command: &str, sample: &[&str]| Shown {
        command: command.to_owned(),
        sample: sample.iter().map(|line| (*line).to_owned()).collect(),
    };
    assert_eq!(commands(page), [shown("a \\\n  -b", &["out"]), shown("c", &[]), shown("d", &[])]);
}

#[test]
fn samples_may_leave_out_what_changes() {
    let sample = ["agent  second", "…", "id …7 of …", ""];
    assert!(fits(&sample, &["agent second", "x", "y", "id 1237 of them"]));
    assert!(fits(&sample, &["agent second", "", "id 7 of it"]));
    assert!(!fits(&sample, &["agent third", "id 7 of x"]));
    assert!(!fits(&sample, &["agent second", "id 8 of x"]));
    assert!(!fits(&["one"], &["one", "two"]));
}

#[test]
fn a_sample_that_is_not_printed_is_reported() {
    let commands = commands("```console\n$ echo 'a b'\na b\n$ echo c\nd\n```");
    let printed = "\u{1}$ echo 'a b'\na b\n\u{1}$ echo c\nc\n";
    let wrong = differences(&commands, printed);
    assert_eq!(wrong.len(), 1);
    assert!(wrong[0].starts_with("$ echo c\nd\n"), "{wrong:?}");
    assert!(script(&commands).contains(r"'\''a b'\''"));
}
