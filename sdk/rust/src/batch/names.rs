//! What a pilot is called where it runs: it is found again by that.

/// Its name, by its stamp.
pub fn name(stamp: &str) -> String {
    format!("spinor-{stamp}")
}

/// What the paths of its files in a directory begin with.
pub fn prefix(directory: &str, stamp: &str) -> String {
    format!("{}/{}", directory.trim_end_matches('/'), name(stamp))
}

/// A file of its own in a directory.
pub fn file(directory: &str, stamp: &str, what: &str) -> String {
    format!("{}.{what}", prefix(directory, stamp))
}

/// A file in a directory that is for all pilots.
pub fn common(directory: &str, what: &str) -> String {
    format!("{}/spinor.{what}", directory.trim_end_matches('/'))
}

/// A job's number and the pilot's stamp, which its files are named by.
pub fn reference(id: &str, stamp: &str) -> String {
    format!("{id}:{stamp}")
}

/// The parts of a [`reference()`].
pub fn parts(reference: &str) -> (&str, &str) {
    reference.split_once(':').unwrap_or((reference, ""))
}

/// Part of what was read as a whole.
pub fn part(whole: &[u8], offset: u64, max: u32) -> Vec<u8> {
    let from = usize::try_from(offset).unwrap_or(usize::MAX).min(whole.len());
    whole[from..].iter().copied().take(max as usize).collect()
}
