//! `argosy settings …`

use argosy_wire::rest::settings::Settings;
use serde_json::{Map, Value};

use super::Context;
use crate::{args::SettingsCommand, error::CliError, output::people};

const SETTINGS: &str = "/api/v1/settings";

/// `argosy settings …`
pub async fn settings(context: &Context<'_>, command: SettingsCommand) -> Result<(), CliError> {
    let Context { client, printer, .. } = context;
    let settings: Settings = match command {
        SettingsCommand::Show => client.get(SETTINGS, &[]).await?,
        SettingsCommand::Set { changes } => {
            let body: Map<String, Value> =
                changes.into_iter().map(|(name, text)| (name, value(&text))).collect();
            client.patch(SETTINGS, &body).await?
        }
    };
    printer.show(&settings, |view| people::settings(view, &settings))
}

/// A number, a truth value, or else a text.
fn value(text: &str) -> Value {
    let number = text.parse::<u32>().map(Value::from);
    let truth = text.parse::<bool>().map(Value::from);
    number.or(truth).unwrap_or_else(|_| Value::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_what_it_looks_like() {
        assert_eq!(value("1800"), Value::from(1800));
        assert_eq!(value("false"), Value::from(false));
        assert_eq!(value("1.4.0"), Value::from("1.4.0"));
        assert_eq!(value(""), Value::from(""));
    }
}
