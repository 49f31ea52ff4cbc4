//! Changes of an input as a strategy of proptest, which makes a failing input small again.

use proptest::{
    collection::vec,
    prelude::{Just, Strategy, any, prop_oneof},
    sample::{Index, select},
};

use crate::INPUT_BYTES_MAX;

/// Most changes of one input.
const CHANGES_MAX: usize = 4;

/// Pieces that mean something to one decoder or another.
const WORDS: &[&[u8]] = &[
    b"{",
    b"[",
    b"\"",
    b",",
    b":",
    b"null",
    b"true",
    b"-0",
    b"1e999",
    b"9223372036854775808",
    b"-9223372036854775809",
    b"18446744073709551616",
    b"0.1",
    b"\\u0000",
    b"\\ud800",
    b"\0",
    b"\xff",
    b"\xc0\x80",
    b"\xe2\x80\xae",
    b"=",
    b".",
    b"_",
    b"-",
    b"..",
    b"%00",
    b"%2e%2e/",
    b" ",
    b"\t",
    b"\n",
    b"\r\n",
    b"\r\n\r\n",
    b"tofu",
    b"9999-12-31T23:59:60.999999Z",
    b"-0001-01-01T00:00:00Z",
    b"Transfer-Encoding: chunked\r\n",
    b"Content-Length: 0\r\n",
    b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x02",
    b"\xff\xff\xff\xff\x0f",
    b"\x0a\xff\xff\xff\xff\x07",
    b"\x0b",
    b"\x0c",
];

/// One change. Places are parts of the whole, so that each fits inputs of any length.
#[derive(Debug, Clone)]
pub enum Change {
    /// One bit is turned.
    Flip(Index, u8),
    /// One byte is another.
    Set(Index, u8),
    /// A word stands in between.
    Word(Index, &'static [u8]),
    /// Some bytes stand in between.
    Insert(Index, Vec<u8>),
    /// A word stands before everything, or after it.
    Around(bool, &'static [u8]),
    /// Some bytes are gone.
    Remove(Index, u8),
    /// A stretch stands there many times.
    Repeat(Index, u8, u16),
    /// Two stretches change places.
    Swap(Index, Index),
    /// The rest is gone.
    Cut(Index),
    /// From there on it goes on like another input.
    Splice(Index, Index, Vec<u8>),
}

impl Change {
    fn apply(&self, input: &mut Vec<u8>) {
        let place = |at: &Index, input: &[u8]| at.index(input.len() + 1);
        match self {
            Self::Flip(..) | Self::Set(..) | Self::Swap(..) if input.is_empty() => {}
            Self::Flip(at, bit) => {
                let at = at.index(input.len());
                input[at] ^= 1 << (bit % 8);
            }
            Self::Set(at, byte) => {
                let at = at.index(input.len());
                input[at] = *byte;
            }
            Self::Swap(one, other) => {
                let (one, other) = (one.index(input.len()), other.index(input.len()));
                input.swap(one, other);
            }
            Self::Word(at, word) => insert(input, place(at, input), word),
            Self::Around(before, word) => {
                insert(input, if *before { 0 } else { input.len() }, word);
            }
            Self::Insert(at, bytes) => insert(input, place(at, input), bytes),
            Self::Remove(at, count) => {
                let at = place(at, input);
                let end = (at + usize::from(*count)).min(input.len());
                input.drain(at..end);
            }
            Self::Repeat(at, count, times) => {
                let at = place(at, input);
                let end = (at + usize::from(*count)).min(input.len());
                let stretch = input[at..end].repeat(usize::from(*times));
                insert(input, at, &stretch);
            }
            Self::Cut(at) => input.truncate(place(at, input)),
            Self::Splice(at, from, other) => {
                input.truncate(place(at, input));
                input.extend_from_slice(&other[place(from, other)..]);
            }
        }
    }
}

fn insert(input: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let room = INPUT_BYTES_MAX.saturating_sub(input.len());
    let bytes = &bytes[..bytes.len().min(room)];
    input.splice(at..at, bytes.iter().copied());
}

fn change(inputs: &[Vec<u8>]) -> impl Strategy<Value = Change> + use<> {
    let (at, byte) = (any::<Index>, any::<u8>);
    prop_oneof![
        4 => (at(), byte()).prop_map(|(at, bit)| Change::Flip(at, bit)),
        3 => (at(), byte()).prop_map(|(at, byte)| Change::Set(at, byte)),
        4 => (at(), select(WORDS)).prop_map(|(at, word)| Change::Word(at, word)),
        1 => (any::<bool>(), select(WORDS)).prop_map(|(before, word)| Change::Around(before, word)),
        2 => (at(), vec(byte(), 1..16)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        3 => (at(), byte()).prop_map(|(at, count)| Change::Remove(at, count % 32 + 1)),
        1 => (at(), byte(), 1..4_000u16).prop_map(|(at, count, n)| Change::Repeat(at, count % 9, n)),
        1 => (at(), at()).prop_map(|(one, other)| Change::Swap(one, other)),
        2 => at().prop_map(Change::Cut),
        2 => (at(), at(), select(inputs.to_vec())).prop_map(|(at, from, other)| {
            Change::Splice(at, from, other)
        }),
    ]
}

/// Inputs that are a few changes away from one of `inputs`, which must not be empty.
pub fn near(inputs: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let changes = vec(change(&inputs), 1..=CHANGES_MAX);
    (prop_oneof![99 => select(inputs), 1 => Just(Vec::new())], changes).prop_map(
        |(mut input, changes)| {
            for change in changes {
                change.apply(&mut input);
            }
            input
        },
    )
}
