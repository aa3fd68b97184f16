//! Sandboxes: a few files as one compressed tar archive. The same files make the same bytes, so that
//! they are stored once.

use bzip2::read::MultiBzDecoder;
use flate2::read::MultiGzDecoder;
use spinor_model::sandbox::SandboxFormat;
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};
use tar::{Archive, Builder, EntryType, Header};

/// How hard it is tried to make a sandbox small: quick, and good enough for logs and plots.
const LEVEL: i32 = 3;

/// Packs files of `base`, named by their paths inside it.
pub fn pack(base: &Path, files: &BTreeSet<PathBuf>) -> io::Result<Vec<u8>> {
    let mut archive = Builder::new(zstd::Encoder::new(Vec::new(), LEVEL)?);
    for name in files {
        let path = base.join(name);
        let metadata = fs::metadata(&path)?;
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_size(metadata.len());
        header.set_mode(if is_executable(&metadata) { 0o755 } else { 0o644 });
        header.set_mtime(0);
        archive.append_data(&mut header, name, File::open(&path)?)?;
    }
    archive.into_inner()?.finish()
}

fn is_executable(metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    metadata.permissions().mode() & 0o100 != 0
}

/// The archive in a sandbox, whichever way it was compressed.
fn decompressed(content: &[u8]) -> io::Result<Box<dyn io::Read + '_>> {
    Ok(match SandboxFormat::of(content) {
        Some(SandboxFormat::Zstd) => Box::new(zstd::Decoder::new(content)?),
        Some(SandboxFormat::Bzip2) => Box::new(MultiBzDecoder::new(content)),
        Some(SandboxFormat::Gzip) => Box::new(MultiGzDecoder::new(content)),
        None => return Err(io::Error::other("sandbox: neither zstd, bzip2 nor gzip")),
    })
}

/// Unpacks regular files and folders into `directory`; anything else, and anything that would lie
/// outside, is an error.
pub fn unpack(content: &[u8], directory: &Path) -> io::Result<()> {
    let mut archive = Archive::new(decompressed(content)?);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = entry.path()?.display().to_string();
        let kind = entry.header().entry_type();
        if !matches!(kind, EntryType::Regular | EntryType::Directory) {
            return Err(io::Error::other(format!("sandbox: `{name}` is no regular file")));
        }
        if !entry.unpack_in(directory)? {
            return Err(io::Error::other(format!("sandbox: `{name}` leads outside")));
        }
    }
    Ok(())
}

/// Files of `base` that match one of the patterns, and the patterns that nothing matches. Links
/// that lead out of `base` match nothing.
pub fn select(base: &Path, patterns: &[String]) -> (BTreeSet<PathBuf>, Vec<String>) {
    let (mut files, mut missing) = (BTreeSet::new(), Vec::new());
    let Ok(real_base) = base.canonicalize() else { return (files, patterns.to_vec()) };
    for pattern in patterns {
        let escaped = glob::Pattern::escape(&base.display().to_string());
        let paths = glob::glob(&format!("{escaped}/{pattern}")).ok();
        let found: Vec<PathBuf> = paths
            .into_iter()
            .flatten()
            .flatten()
            .filter(|path| {
                path.is_file() && path.canonicalize().is_ok_and(|p| p.starts_with(&real_base))
            })
            .filter_map(|path| Some(path.strip_prefix(base).ok()?.to_owned()))
            .collect();
        if found.is_empty() {
            missing.push(pattern.clone());
        }
        files.extend(found);
    }
    (files, missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_out_and_the_same_files_are_the_same_bytes() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir(a.path().join("sub")).unwrap();
        fs::write(a.path().join("x.txt"), "x").unwrap();
        fs::write(a.path().join("sub/y.txt"), "y").unwrap();
        let (files, missing) =
            select(a.path(), &["*.txt".into(), "sub/*".into(), "z".into(), "../*".into()]);
        assert_eq!(missing, ["z", "../*"]);
        let content = pack(a.path(), &files).unwrap();
        assert_eq!(pack(a.path(), &files).unwrap(), content);
        unpack(&content, b.path()).unwrap();
        assert_eq!(fs::read_to_string(b.path().join("sub/y.txt")).unwrap(), "y");
    }

    #[test]
    fn nothing_gets_outside() {
        let dir = tempfile::tempdir().unwrap();
        let gzip = flate2::GzBuilder::new().write(Vec::new(), flate2::Compression::fast());
        let mut archive = Builder::new(gzip);
        let mut header = Header::new_gnu();
        header.set_size(1);
        let name = b"../evil";
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name);
        header.set_cksum();
        archive.append(&header, &b"x"[..]).unwrap();
        let content = archive.into_inner().unwrap().finish().unwrap();
        let inside = dir.path().join("in");
        fs::create_dir(&inside).unwrap();
        assert!(unpack(&content, &inside).is_err());
        assert!(!dir.path().join("evil").exists());
        std::os::unix::fs::symlink("/etc/hostname", inside.join("link")).unwrap();
        assert!(select(&inside, &["link".into()]).0.is_empty());
        assert!(unpack(b"junk", &inside).is_err());
    }
}
