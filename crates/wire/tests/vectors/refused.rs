//! What must be refused in place of a good statement: other bytes for the same content, other
//! content in the same form, and signatures that a lax verifier lets pass.

use argosy_wire::bytes::{Fixed, decode, encode};
use ed25519_dalek::{Signer as _, SigningKey};
use serde_json::{Map, Value};

/// The order of the base point of Ed25519, little-endian (RFC 8032, section 5.1).
const GROUP_ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// The fields whose values are integers.
const INTEGERS: [&str; 4] = ["serial", "account_id", "high_water", "sequence"];

/// An ordinary Ed25519 signature of the payload alone.
pub(crate) fn without_encoding(key: &SigningKey, payload: &[u8]) -> Fixed<64> {
    Fixed(key.sign(payload).to_bytes())
}

/// A signature with one bit changed.
pub(crate) fn flip_bit(mut signature: Fixed<64>, byte: usize) -> Fixed<64> {
    signature.0[byte] ^= 1;
    signature
}

/// The same signature with S + L for S: the malleable form of RFC 8032, section 8.4.
pub(crate) fn plus_order(mut signature: Fixed<64>) -> Fixed<64> {
    let mut carry = 0;
    for (byte, order) in signature.0[32..].iter_mut().zip(GROUP_ORDER) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        *byte = sum.to_le_bytes()[0];
        carry = sum >> 8;
    }
    assert_eq!(carry, 0, "S + L fits 32 bytes because S < L");
    signature
}

/// Bytes that were changed after a good signature was made.
pub(crate) fn changed_after_signing(payload: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut flipped = payload.to_vec();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    let mut longer = payload.to_vec();
    longer.push(b' ');
    let shorter = payload[..payload.len() - 1].to_vec();
    vec![
        ("one bit of the payload flipped", flipped),
        ("a space after the payload", longer),
        ("the payload cut short", shorter),
        ("no payload", Vec::new()),
    ]
}

/// Well-signed bytes that are no canonical statement of their purpose.
pub(crate) fn other_bytes(payload: &[u8]) -> Vec<(String, Vec<u8>)> {
    let fields: Map<String, Value> = serde_json::from_slice(payload).unwrap();
    let mut cases = same_content(payload, &fields);
    cases.extend(other_content(&fields));
    cases.extend(other_values(&fields));
    cases
}

/// Other bytes for the same content.
fn same_content(payload: &[u8], fields: &Map<String, Value>) -> Vec<(String, Vec<u8>)> {
    let text = std::str::from_utf8(payload).unwrap();
    let member = |(name, value): (&String, &Value)| format!("\"{name}\":{value}");
    let members: Vec<String> = fields.iter().map(member).collect();
    let mut rotated = members.clone();
    rotated.rotate_left(1);
    let twice = format!("{{{},{}}}", members[0], members.join(","));
    let initial = text.as_bytes()[2];
    let escaped =
        text.replacen(&format!("{{\"{}", char::from(initial)), &format!("{{\"\\u{initial:04x}"), 1);
    let cases = [
        ("a space after a colon", text.replacen("\":\"", "\": \"", 1)),
        ("a line feed at the end", format!("{text}\n")),
        ("a byte order mark", format!("\u{feff}{text}")),
        ("a letter written as an escape", escaped),
        ("fields out of order", format!("{{{}}}", rotated.join(","))),
        ("a field twice", twice),
    ];
    cases.map(|(why, text)| (why.to_owned(), text.into_bytes())).into()
}

/// Content that no statement of the purpose has.
fn other_content(fields: &Map<String, Value>) -> Vec<(String, Vec<u8>)> {
    let first = fields.keys().next().unwrap();
    let with = |name: &str, value: Value| {
        let mut fields = fields.clone();
        fields.insert(name.to_owned(), value);
        Value::Object(fields)
    };
    let mut without = fields.clone();
    without.remove(first);
    let cases = [
        ("a field that the purpose does not have", with("zz", "1".into())),
        ("a field missing", Value::Object(without)),
        ("a number for a string", with(first, 1.into())),
        ("null for a string", with(first, Value::Null)),
        ("an object for a string", with(first, Value::Object(Map::new()))),
        ("a list around the object", vec![Value::Object(fields.clone())].into()),
        ("an object without fields", Value::Object(Map::new())),
        ("no object", "text".into()),
    ];
    cases.map(|(why, value)| (why.to_owned(), canonical(&value))).into()
}

/// Values that mean the same, or nothing, in another form than the one that is signed.
fn other_values(fields: &Map<String, Value>) -> Vec<(String, Vec<u8>)> {
    let mut cases = Vec::new();
    let mut add = |name: &str, form: &str, value: String| {
        let mut fields = fields.clone();
        fields.insert(name.to_owned(), value.into());
        cases.push((format!("{name}: {form}"), canonical(&Value::Object(fields))));
    };
    for (name, value) in fields {
        let value = value.as_str().unwrap();
        if INTEGERS.contains(&name.as_str()) {
            add(name, "leading zero", format!("0{value}"));
            add(name, "sign", format!("+{value}"));
            add(name, "fraction", format!("{value}.0"));
            add(name, "beyond 64 bits", "9223372036854775808".into());
        } else if value.len() == 27 && value.ends_with('Z') {
            add(name, "offset for Z", value.replace('Z', "+00:00"));
            add(name, "nine digits of a second", value.replace('Z', "000Z"));
            add(name, "no digits of a second", format!("{}Z", &value[..19]));
            add(name, "lower case", value.to_lowercase());
            add(name, "day that does not exist", format!("2026-02-30{}", &value[10..]));
        } else if value.len() == 43 && decode(value).is_ok() {
            let bytes = decode(value).unwrap();
            add(name, "padding", format!("{value}="));
            add(name, "one byte less", encode(&bytes[..31]));
            add(name, "bits that encode nothing", with_loose_bits(value));
        }
    }
    cases
}

/// The same 32 bytes with one of the two unused bits of the last character set.
fn with_loose_bits(value: &str) -> String {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (head, last) = value.split_at(value.len() - 1);
    let next = ALPHABET.find(last).unwrap() + 1;
    format!("{head}{}", &ALPHABET[next..=next])
}

fn canonical(value: &Value) -> Vec<u8> {
    serde_json_canonicalizer::to_vec(value).unwrap()
}
