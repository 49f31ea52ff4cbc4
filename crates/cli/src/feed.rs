//! Server-sent events (HTML standard, section 9.2), as far as the server's feed uses them.
//!
//! *Invariant:* a server that sends no end of an event costs at most `EVENT_BYTES_MAX`.

use crate::error::CliError;

/// One event is at most this long.
const EVENT_BYTES_MAX: usize = 1024 * 1024;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedEvent {
    /// Where it stands in the feed.
    pub id: Option<String>,
    /// Its kind.
    pub kind: String,
    /// JSON.
    pub data: String,
}

/// Cuts what arrives into events.
#[derive(Debug, Default)]
pub struct Parser {
    rest: Vec<u8>,
}

impl Parser {
    /// The events that are complete with these bytes.
    pub fn take(&mut self, bytes: &[u8]) -> Result<Vec<FeedEvent>, CliError> {
        self.rest.extend_from_slice(bytes);
        let mut events = Vec::new();
        while let Some(length) = self.rest.windows(2).position(|pair| pair == b"\n\n") {
            let block: Vec<u8> = self.rest.drain(..length + 2).collect();
            let block = String::from_utf8(block)
                .map_err(|_| CliError::Local("an event is not valid UTF-8".into()))?;
            events.extend(event(&block));
        }
        if self.rest.len() > EVENT_BYTES_MAX {
            return Err(CliError::Local("an event is longer than any of a server's feed".into()));
        }
        Ok(events)
    }
}

/// The event of a block of lines; none where it is a comment.
fn event(block: &str) -> Option<FeedEvent> {
    let (mut id, mut kind, mut data) = (None, None, None::<String>);
    for line in block.lines() {
        let Some((name, value)) = line.split_once(':') else { continue };
        let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
        match name {
            "id" => id = Some(value),
            "event" => kind = Some(value),
            "data" => {
                data = Some(match data {
                    Some(before) => format!("{before}\n{value}"),
                    None => value,
                });
            }
            _ => {}
        }
    }
    Some(FeedEvent { id, kind: kind.unwrap_or_else(|| "message".to_owned()), data: data? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_arrive_in_any_pieces_and_comments_are_none() {
        let text = ": watching\n\nid: 7\nevent: agent\ndata: {\"a\":\"b: c\"}\n\n:\n\ndata: x\ndata: y\n\n";
        let expected = [
            FeedEvent {
                id: Some("7".into()),
                kind: "agent".into(),
                data: "{\"a\":\"b: c\"}".into(),
            },
            FeedEvent { id: None, kind: "message".into(), data: "x\ny".into() },
        ];
        for size in 1..text.len() {
            let mut parser = Parser::default();
            let pieces = text.as_bytes().chunks(size);
            let events: Vec<_> = pieces.flat_map(|piece| parser.take(piece).unwrap()).collect();
            assert_eq!(events, expected, "in pieces of {size}");
        }
        let endless = vec![b'x'; EVENT_BYTES_MAX + 1];
        assert!(Parser::default().take(&endless).is_err());
    }
}
