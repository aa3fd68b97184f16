//! What a pilot whose worker reaches no network and the server write each other, in files that the
//! CE's own channel carries: requests and answers as over HTTP, one file each.
//!
//! Whoever carries the files, or may look into their directory, learns nothing from them and changes
//! nothing in them unnoticed: they are sealed with a key that the pilot has from its secret, and the
//! server from what it keeps of that ([`Key`]). A file begins with its size, so that it is known when it
//! is whole, and a salt; then come chunks, each sealed by itself ([`seal`]), so that the server, which
//! has many, holds no large file in memory. The first bytes inside are a line of JSON ([`Asked`], [`Answered`]);
//! the rest is the body.

mod files;
mod heads;
pub mod seal;

pub use files::{Name, REQUEST};
pub use heads::{Answered, Asked, head_and_body};
pub use seal::{Broken, Key, Opening, Sealing, Side};

/// Bytes of the inside of each chunk but the last.
pub const CHUNK: usize = 256 << 10;

/// Bytes that sealing adds to each chunk.
pub const TAG: usize = 16;

/// Bytes before the first chunk: the file's size, and its salt.
pub const BEGINNING: usize = 8 + seal::SALT;

/// Bytes of a file with so many inside.
pub fn size(inside: u64) -> u64 {
    let chunks = inside.div_ceil(CHUNK as u64).max(1);
    BEGINNING as u64 + inside + chunks * TAG as u64
}

/// Bytes inside a file of so many.
pub fn inside(size: u64) -> u64 {
    let sealed = size.saturating_sub(BEGINNING as u64);
    sealed.saturating_sub(sealed.div_ceil((CHUNK + TAG) as u64).max(1) * TAG as u64)
}

/// The size of a whole file, by its first bytes; none, if there are too few yet.
pub fn told_size(beginning: &[u8]) -> Option<u64> {
    beginning.first_chunk().map(|bytes| u64::from_be_bytes(*bytes))
}

/// A whole file.
pub fn write(
    key: &Key,
    side: Side,
    number: u32,
    head: &impl serde::Serialize,
    body: &[u8],
) -> Result<Vec<u8>, Broken> {
    let mut plain = heads::line(head)?;
    plain.extend_from_slice(body);
    let mut sealing = Sealing::begin(key, side, number, plain.len() as u64);
    let mut file = sealing.beginning();
    for chunk in plain.chunks(CHUNK) {
        file.extend(sealing.chunk(chunk)?);
    }
    Ok(file)
}

/// What is in a whole file.
pub fn read<H: serde::de::DeserializeOwned>(
    key: &Key,
    side: Side,
    number: u32,
    file: &[u8],
) -> Result<(H, Vec<u8>), Broken> {
    let (beginning, sealed) = file.split_at_checked(BEGINNING).ok_or(Broken::Short)?;
    let mut opening = Opening::begin(key, side, number, beginning)?;
    let mut plain = Vec::new();
    for chunk in sealed.chunks(CHUNK + TAG) {
        plain.extend(opening.chunk(chunk)?);
    }
    if !opening.is_whole() {
        return Err(Broken::Short);
    }
    head_and_body(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use spinor_model::id::Digest;

    fn key(secret: &str) -> Key {
        Key::of(&Digest::of(secret.as_bytes()))
    }

    fn answer(body: &[u8]) -> Vec<u8> {
        write(&key("a"), Side::Answer, 7, &Answered { status: 200 }, body).unwrap()
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(length in prop_oneof![0usize..50, CHUNK - 40..CHUNK + 40, Just(3 * CHUNK)]) {
            let body: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
            let file = answer(&body);
            prop_assert_eq!(told_size(&file), Some(file.len() as u64));
            prop_assert_eq!(size(inside(file.len() as u64)), file.len() as u64);
            let (head, read): (Answered, Vec<u8>) = read(&key("a"), Side::Answer, 7, &file).unwrap();
            prop_assert_eq!(head.status, 200);
            prop_assert!(read == body);
        }
    }

    #[test]
    fn another_key_side_or_number_opens_nothing() {
        let file = answer(b"a token");
        let opened = |key: &Key, side, number| read::<Answered>(key, side, number, &file).is_ok();
        assert!(opened(&key("a"), Side::Answer, 7));
        assert!(!opened(&key("b"), Side::Answer, 7));
        assert!(!opened(&key("a"), Side::Request, 7));
        assert!(!opened(&key("a"), Side::Answer, 8));
        assert!(!file.windows(5).any(|bytes| bytes == b"token"));
    }

    #[test]
    fn what_is_cut_swapped_or_changed_is_noticed() {
        let file = answer(&vec![1; 2 * CHUNK]);
        let bad = |file: &[u8]| read::<Answered>(&key("a"), Side::Answer, 7, file).unwrap_err();
        bad(&file[..BEGINNING + CHUNK + TAG]);
        bad(&file[..file.len() - 1]);
        bad(&[]);
        let mut changed = file.clone();
        changed[BEGINNING + 9] ^= 1;
        bad(&changed);
        let mut grown = file.clone();
        grown[7] ^= 1;
        bad(&grown);
        let (first, second) = (BEGINNING..BEGINNING + CHUNK + TAG, BEGINNING + CHUNK + TAG);
        let mut swapped = file[..BEGINNING].to_vec();
        swapped.extend(&file[second..second + CHUNK + TAG]);
        swapped.extend(&file[first]);
        swapped.extend(&file[second + CHUNK + TAG..]);
        bad(&swapped);
    }
}
