//! Questions to the person at the terminal.
//!
//! *Invariant:* nothing is ever asked where nobody can answer, and a secret is read without echo.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

/// Somebody who can be asked, or nobody.
pub trait Ask {
    /// Whether anybody is there.
    fn present(&self) -> bool;
    /// Asks, with everything that is needed to answer in `question`; true for `y` and `yes` only.
    fn confirm(&self, question: &str) -> io::Result<bool>;
    /// Asks for a line.
    fn line(&self, question: &str) -> io::Result<String>;
    /// Asks for something that must not show. Spaces around it belong to it.
    fn secret(&self, question: &str) -> io::Result<String>;
}

/// The terminal of this process: questions to standard error, answers from standard input.
#[derive(Debug, Clone, Copy, Default)]
pub struct Terminal;

impl Ask for Terminal {
    fn present(&self) -> bool {
        io::stdin().is_terminal() && io::stderr().is_terminal()
    }

    fn confirm(&self, question: &str) -> io::Result<bool> {
        write!(io::stderr(), "{question} [yes/no] ")?;
        let answer = line()?.to_ascii_lowercase();
        Ok(matches!(answer.as_str(), "y" | "yes"))
    }

    fn line(&self, question: &str) -> io::Result<String> {
        write!(io::stderr(), "{question}: ")?;
        line()
    }

    fn secret(&self, question: &str) -> io::Result<String> {
        let before = tcgetattr(io::stdin())?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        silent.local_modes.insert(LocalModes::ECHONL);
        // Before the question: whoever types at once is not shown either.
        tcsetattr(io::stdin(), OptionalActions::Flush, &silent)?;
        let asked = write!(io::stderr(), "{question}: ");
        let answer = asked.and_then(|()| whole_line());
        tcsetattr(io::stdin(), OptionalActions::Flush, &before)?;
        answer
    }
}

fn line() -> io::Result<String> {
    Ok(whole_line()?.trim().to_owned())
}

/// The next line of standard input, with everything but its end.
pub fn whole_line() -> io::Result<String> {
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim_end_matches(['\r', '\n']).to_owned())
}
