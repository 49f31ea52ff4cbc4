//! Starts `argosy`.

use std::process::ExitCode;

fn main() -> ExitCode {
    argosy_cli::start::main()
}
