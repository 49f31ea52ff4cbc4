//! What describes consecutive resources: for every text of one, two or three characters and for every
//! account, provider, region and type, which of them have it.
//!
//! *Invariant:* an outline may name too many and never too few, whatever either database takes for
//! the lower case of a letter; what is found is decided by the row.

use std::collections::{BTreeMap, HashMap};

use argosy_domain::id::AccountId;

use super::ResourceFilter;

/// Parts of an outline; a token lies in one of them.
const BUCKETS: u64 = 128;
/// The part that holds the numbers of the resources, 16 bytes each, in the order of the list.
pub(super) const NUMBERS: i64 = 128;
/// Resources that an outline can describe.
pub(super) const ENTRIES_MAX: usize = 65_535;
/// Texts of three that a search asks for. More hardly make candidates fewer.
const THREES_MAX: usize = 8;

/// What a resource is found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Token(u64);

impl Token {
    /// FNV-1a: two that meet make candidates more and nothing wrong.
    fn of(kind: u8, text: impl Iterator<Item = u8>) -> Self {
        let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        Self(std::iter::once(kind).chain(text).fold(0xcbf2_9ce4_8422_2325, mix))
    }

    fn of_chars(chars: &[char]) -> Self {
        Self::of(0, chars.iter().flat_map(|c| u32::from(*c).to_le_bytes()))
    }

    fn of_account(account: AccountId) -> Self {
        Self::of(1, account.0.to_le_bytes().into_iter())
    }

    /// The part of an outline in which it lies.
    pub(super) fn bucket(self) -> i64 {
        i64::try_from((self.0 ^ (self.0 >> 32)) % BUCKETS).unwrap_or(0)
    }
}

/// A text as it is compared: every i is one, so that it does not matter what a database makes of the
/// Turkish ones.
fn folded(text: &str) -> Vec<char> {
    let lower = text.chars().flat_map(char::to_lowercase).filter(|c| *c != '\u{307}');
    lower.map(|c| if c == 'ı' { 'i' } else { c }).collect()
}

/// The tokens that a resource must have to come through the filter.
pub(super) fn wanted(filter: &ResourceFilter) -> Vec<Token> {
    let mut tokens: Vec<Token> = filter.account.map(Token::of_account).into_iter().collect();
    let texts = [&filter.provider, &filter.region, &filter.resource_type];
    for (kind, text) in (2..).zip(texts) {
        tokens.extend(text.as_deref().map(|text| Token::of(kind, text.bytes())));
    }
    let chars = filter.q.as_deref().map(folded).unwrap_or_default();
    if chars.len() < 3 {
        tokens.extend((!chars.is_empty()).then(|| Token::of_chars(&chars)));
        return tokens;
    }
    // Side by side, from one end to the other.
    let (last, count) = (chars.len() - 3, chars.len().div_ceil(3).min(THREES_MAX));
    let start = |n: usize| if count < 2 { 0 } else { last * n / (count - 1) };
    tokens
        .extend((0..count).filter_map(|n| chars.get(start(n)..start(n) + 3)).map(Token::of_chars));
    tokens.sort_unstable();
    tokens.dedup();
    tokens
}

/// A resource as it is described.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) number: String,
    pub(super) account: AccountId,
    /// Provider, region and type.
    pub(super) place: [String; 3],
    /// Name, provider's id and range.
    pub(super) texts: [String; 3],
}

/// An outline on its way into its rows.
#[derive(Debug, Default)]
pub(super) struct Outline {
    pub(super) entries: u32,
    /// What each part holds.
    pub(super) parts: BTreeMap<i64, Vec<u8>>,
}

impl Outline {
    /// Describes resources in the order of the list, oldest first; at most [`ENTRIES_MAX`].
    pub(super) fn of(entries: &[Entry]) -> Self {
        let mut lists = HashMap::<Token, Vec<u16>>::new();
        let mut numbers = Vec::with_capacity(entries.len() * 16);
        for (ordinal, entry) in (0..=u16::MAX).zip(entries) {
            let mut has = |token: Token| {
                let list = lists.entry(token).or_default();
                if list.last() != Some(&ordinal) {
                    list.push(ordinal);
                }
            };
            has(Token::of_account(entry.account));
            for (kind, text) in (2..).zip(&entry.place) {
                has(Token::of(kind, text.bytes()));
            }
            for text in &entry.texts {
                let chars = folded(text);
                for length in 1..=3 {
                    chars.windows(length).map(Token::of_chars).for_each(&mut has);
                }
            }
            numbers.extend(packed(&entry.number));
        }
        let mut parts = BTreeMap::from([(NUMBERS, numbers)]);
        for (token, list) in lists {
            let data = written(&list, entries.len());
            let part = parts.entry(token.bucket()).or_default();
            part.extend(token.0.to_le_bytes());
            part.extend(u32::try_from(data.len()).unwrap_or(0).to_le_bytes());
            part.extend(data);
        }
        Self { entries: u32::try_from(entries.len()).unwrap_or(u32::MAX), parts }
    }
}

/// The bytes of a number, which are what its hexadecimal digits say.
fn packed(number: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    // A number that is none of ours finds nothing here.
    let _ = hex::decode_to_slice(number, &mut bytes);
    bytes
}

/// The number of the entry at that place.
pub(super) fn number_at(numbers: &[u8], ordinal: usize) -> Option<String> {
    numbers.get(ordinal * 16..ordinal * 16 + 16).map(hex::encode)
}

/// A list of few, or a bit for each; the shorter one, and never as long.
fn written(list: &[u16], entries: usize) -> Vec<u8> {
    let bits = entries.div_ceil(8);
    if list.len() * 2 < bits {
        return list.iter().flat_map(|ordinal| ordinal.to_le_bytes()).collect();
    }
    let mut data = vec![0; bits];
    list.iter().for_each(|ordinal| set(&mut data, *ordinal));
    data
}

fn set(bits: &mut [u8], ordinal: u16) {
    if let Some(byte) = bits.get_mut(usize::from(ordinal / 8)) {
        *byte |= 1 << (ordinal % 8);
    }
}

/// What a part says of a token.
fn said(part: &[u8], token: Token) -> Option<&[u8]> {
    let mut rest = part;
    while let Some((head, behind)) = rest.split_at_checked(12) {
        let (hash, length) = head.split_at(8);
        let length = u32::from_le_bytes(length.try_into().ok()?);
        let (data, next) = behind.split_at_checked(usize::try_from(length).ok()?)?;
        if hash == token.0.to_le_bytes() {
            return Some(data);
        }
        rest = next;
    }
    None
}

/// The places of the entries that have all tokens, the newest one first.
pub(super) fn candidates<'p>(
    entries: usize,
    tokens: &[Token],
    part: impl Fn(i64) -> Option<&'p [u8]>,
) -> Vec<usize> {
    let length = entries.div_ceil(8);
    let mut all = vec![u8::MAX; length];
    for token in tokens {
        let Some(data) = part(token.bucket()).and_then(|part| said(part, *token)) else {
            return Vec::new();
        };
        let mut these = vec![0; length];
        if data.len() == length {
            these.copy_from_slice(data);
        } else {
            let ordinals = data.chunks_exact(2).filter_map(|two| two.try_into().ok());
            ordinals.map(u16::from_le_bytes).for_each(|ordinal| set(&mut these, ordinal));
        }
        all.iter_mut().zip(these).for_each(|(byte, other)| *byte &= other);
    }
    let has = |place: &usize| all.get(place / 8).is_some_and(|byte| byte >> (place % 8) & 1 == 1);
    (0..entries).rev().filter(has).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(n: usize, name: &str) -> Entry {
        let place = ["aws".into(), format!("r{}", n % 3), "vpc".into()];
        let texts = [name.to_owned(), format!("vpc-{n}"), String::new()];
        Entry { number: format!("{n:032x}"), account: AccountId(n as i64 % 2), place, texts }
    }

    fn found(names: &[String], filter: &ResourceFilter) -> Vec<String> {
        let entries: Vec<_> = names.iter().enumerate().map(|(n, name)| entry(n, name)).collect();
        let outline = Outline::of(&entries);
        let part = |bucket: i64| outline.parts.get(&bucket).map(Vec::as_slice);
        let places = candidates(entries.len(), &wanted(filter), part);
        places
            .into_iter()
            .map(|place| number_at(&outline.parts[&NUMBERS], place).unwrap())
            .collect()
    }

    fn looking_for(q: &str) -> ResourceFilter {
        ResourceFilter { q: Some(q.into()), ..ResourceFilter::default() }
    }

    proptest! {
        #[test]
        fn nothing_that_has_a_text_is_left_out(
            names in proptest::collection::vec("[a-cA-C0-1İıK -]{0,9}", 1..60),
            from in 0usize..60, begin in 0usize..9, length in 1usize..9,
        ) {
            let chars: Vec<char> = names[from % names.len()].chars().collect();
            let q: String = chars.iter().skip(begin).take(length).collect();
            let q = q.to_lowercase().to_uppercase();
            prop_assume!(!q.is_empty());
            let found = found(&names, &looking_for(&q));
            for (n, name) in names.iter().enumerate() {
                if name.to_ascii_lowercase().contains(&q.to_lowercase()) {
                    prop_assert!(found.contains(&format!("{n:032x}")), "{name:?} has {q:?}");
                }
            }
        }

        #[test]
        fn no_bytes_break_a_reader(part in proptest::collection::vec(any::<u8>(), 0..99), entries in 0usize..99) {
            let tokens = wanted(&looking_for("abc"));
            prop_assert!(candidates(entries, &tokens, |_| Some(&part)).len() <= entries);
        }
    }

    #[test]
    fn few_are_named_and_the_newest_first() {
        let names: Vec<String> = (0..500).map(|n| format!("web-{n:03}-production")).collect();
        assert_eq!(found(&names, &looking_for("B-077-PROD")), [format!("{:032x}", 77)]);
        assert_eq!(found(&names, &looking_for("zz")), Vec::<String>::new());
        let filter = ResourceFilter {
            region: Some("r1".into()),
            account: Some(AccountId(0)),
            ..looking_for("web-0")
        };
        let places: Vec<_> = (0..100).rev().filter(|n| n % 3 == 1 && n % 2 == 0).collect();
        assert_eq!(
            found(&names, &filter),
            places.iter().map(|n| format!("{n:032x}")).collect::<Vec<_>>()
        );
        let nowhere = ResourceFilter { provider: Some("gcp".into()), ..ResourceFilter::default() };
        assert!(found(&names, &nowhere).is_empty());
    }
}
