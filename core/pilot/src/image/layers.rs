//! Layers of a container image, laid over each other in a directory.
//!
//! As the OCI image specification has it (layer.md): a file replaces what a lower layer has in its place, `.wh.NAME` takes
//! NAME of the lower ones away, and `.wh..wh..opq` all that they have in its directory. Owners, and
//! devices, are left out: whoever unpacks is no administrator.

use flate2::read::MultiGzDecoder;
use spinor_model::sandbox::SandboxFormat;
use std::{
    collections::HashSet,
    ffi::OsStr,
    fs::{self, File, Permissions},
    io::{self, BufReader, Read, Seek},
    os::unix::fs::PermissionsExt,
    path::{Component, Path, PathBuf},
};
use tar::{Archive, Entry, EntryType};

/// Bytes of a layer, unpacked: a small one can be made to fill any disk.
const MOST: u64 = 64 << 30;
const WHITEOUT: &str = ".wh.";
const OPAQUE: &str = ".wh..wh..opq";

/// Lays the layer in a file over what is in `root`.
pub fn apply(layer: &Path, root: &Path) -> io::Result<()> {
    let mut file = File::open(layer)?;
    let mut magic = [0; 4];
    let known = file.read(&mut magic)?;
    file.rewind()?;
    let file = BufReader::new(file);
    let content: Box<dyn Read> = match SandboxFormat::of(&magic[..known]) {
        Some(SandboxFormat::Zstd) => Box::new(zstd::Decoder::with_buffer(file)?),
        Some(SandboxFormat::Gzip) => Box::new(MultiGzDecoder::new(file)),
        Some(SandboxFormat::Bzip2) | None => Box::new(file),
    };
    Layer { root: root.canonicalize()?, own: HashSet::new() }
        .apply(Archive::new(content.take(MOST)))
}

/// A layer being laid.
struct Layer {
    root: PathBuf,
    /// What is its own, and so is not taken away by it.
    own: HashSet<PathBuf>,
}

impl Layer {
    fn apply(mut self, mut archive: Archive<impl Read>) -> io::Result<()> {
        for entry in archive.entries()? {
            let mut entry = entry?;
            let path = inside(&entry.path()?)?;
            let Some(name) = path.file_name().and_then(OsStr::to_str).map(str::to_owned) else {
                continue;
            };
            let parent = path.parent().unwrap_or(Path::new(""));
            if name == OPAQUE {
                self.clear(parent)?;
            } else if let Some(gone) = name.strip_prefix(WHITEOUT) {
                self.remove(&parent.join(gone))?;
            } else {
                self.lay(&mut entry, &path)?;
                self.own.extend(path.ancestors().map(Path::to_owned));
            }
        }
        Ok(())
    }

    /// Where a path is, if the directory that it is in is there, and inside.
    fn place(&self, path: &Path) -> io::Result<Option<PathBuf>> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(None) };
        match self.root.join(parent).canonicalize() {
            Ok(parent) if parent.starts_with(&self.root) => Ok(Some(parent.join(name))),
            Ok(_) => Err(outside(path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match self.place(path)? {
            Some(place) => remove(&place),
            None => Ok(()),
        }
    }

    fn clear(&self, directory: &Path) -> io::Result<()> {
        let Some(place) = self.place(&directory.join("any"))? else { return Ok(()) };
        let Some(place) = place.parent() else { return Ok(()) };
        for entry in fs::read_dir(place)? {
            let entry = entry?;
            if !self.own.contains(&directory.join(entry.file_name())) {
                remove(&entry.path())?;
            }
        }
        Ok(())
    }

    /// A second name of a file, which is named from the image's root.
    fn link(&self, entry: &Entry<'_, impl Read>, path: &Path) -> io::Result<()> {
        let to = entry.link_name()?.ok_or_else(|| outside(path))?;
        let (to, parent) = (self.place(&inside(&to)?)?, path.parent().unwrap_or(Path::new("")));
        fs::create_dir_all(self.root.join(parent))?;
        match (to, self.place(path)?) {
            (Some(to), Some(place)) => fs::hard_link(to, place),
            _ => Err(outside(path)),
        }
    }

    fn lay(&self, entry: &mut Entry<'_, impl Read>, path: &Path) -> io::Result<()> {
        let kind = entry.header().entry_type();
        let file =
            matches!(kind, EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse);
        let link = matches!(kind, EntryType::Symlink | EntryType::Link);
        if !file && !link && kind != EntryType::Directory {
            return Ok(());
        }
        if let Some(place) = self.place(path)? {
            let there = fs::symlink_metadata(&place).is_ok_and(|there| there.is_dir());
            if !there || kind != EntryType::Directory {
                remove(&place)?;
            }
        }
        if kind == EntryType::Link {
            return self.link(entry, path);
        }
        if !entry.unpack_in(&self.root)? {
            return Err(outside(path));
        }
        // Later entries go into it, and nobody here is an administrator who may always write.
        if let Some(place) = self.place(path)?.filter(|_| kind == EntryType::Directory) {
            let mode = fs::metadata(&place)?.permissions().mode() & 0o777;
            fs::set_permissions(place, Permissions::from_mode(mode | 0o700))?;
        }
        Ok(())
    }
}

/// A path without its leading `/` or `./`.
fn inside(path: &Path) -> io::Result<PathBuf> {
    let mut parts = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(part) => parts.push(part),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return Err(outside(path)),
        }
    }
    Ok(parts)
}

fn outside(path: &Path) -> io::Error {
    io::Error::other(format!("`{}` would lie outside the image", path.display()))
}

fn remove(place: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(place) {
        Ok(there) if there.is_dir() => fs::remove_dir_all(place),
        Ok(_) => fs::remove_file(place),
        Err(error) => Err(error),
    };
    removed.or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tar::{Builder, Header};

    enum Is<'a> {
        File(&'a str),
        Directory,
        Link(&'a str),
        SameAs(&'a str),
    }

    fn layer(entries: &[(&str, Is<'_>)]) -> tempfile::NamedTempFile {
        let mut archive = Builder::new(Vec::new());
        for (name, is) in entries {
            let mut header = Header::new_gnu();
            header.set_mode(if matches!(is, Is::Directory) { 0o555 } else { 0o644 });
            // The name as it is: `append_data` would refuse some.
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            let mut content: &[u8] = &[];
            match is {
                Is::File(text) => content = text.as_bytes(),
                Is::Directory => header.set_entry_type(EntryType::Directory),
                Is::Link(to) => {
                    header.set_entry_type(EntryType::Symlink);
                    header.set_link_name(to).unwrap();
                }
                Is::SameAs(other) => {
                    header.set_entry_type(EntryType::Link);
                    header.as_old_mut().linkname[..other.len()].copy_from_slice(other.as_bytes());
                }
            }
            header.set_size(content.len() as u64);
            header.set_cksum();
            archive.append(&header, content).unwrap();
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), archive.into_inner().unwrap()).unwrap();
        file
    }

    fn listed(root: &Path) -> Vec<String> {
        let pattern = format!("{}/**/*", root.display());
        let paths = glob::glob(&pattern).unwrap().flatten();
        paths.map(|path| path.strip_prefix(root).unwrap().display().to_string()).collect()
    }

    #[test]
    fn upper_layers_replace_and_take_away() {
        let root = tempfile::tempdir().unwrap();
        let lower = layer(&[
            ("./usr/", Is::Directory),
            ("usr/a", Is::File("low")),
            ("usr/b", Is::File("low")),
            ("lib", Is::Link("usr")),
            ("opt/", Is::Directory),
            ("opt/old", Is::File("low")),
            ("becomes", Is::Directory),
            ("becomes/gone", Is::File("low")),
        ]);
        let upper = layer(&[
            ("usr/.wh.a", Is::File("")),
            ("usr/b", Is::File("high")),
            ("usr/same", Is::SameAs("/usr/b")),
            ("opt/new", Is::File("high")),
            ("opt/.wh..wh..opq", Is::File("")),
            ("becomes", Is::File("a file")),
        ]);
        apply(lower.path(), root.path()).unwrap();
        apply(upper.path(), root.path()).unwrap();
        assert_eq!(
            listed(root.path()),
            ["becomes", "lib", "lib/b", "lib/same", "opt", "opt/new", "usr", "usr/b", "usr/same"]
        );
        assert_eq!(fs::read_to_string(root.path().join("lib/b")).unwrap(), "high");
    }

    #[test]
    fn nothing_is_touched_outside() {
        let (root, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let victim = other.path().join("victim");
        fs::write(&victim, "mine").unwrap();
        let away = ("away", Is::Link(other.path().to_str().unwrap()));
        apply(layer(&[away]).path(), root.path()).unwrap();
        let theirs = ("own", Is::SameAs("away/victim"));
        assert!(apply(layer(&[theirs]).path(), root.path()).is_err());
        for name in ["away/victim", "away/.wh.victim", "away/.wh..wh..opq", "../victim"] {
            let error = apply(layer(&[(name, Is::File("theirs"))]).path(), root.path());
            assert!(error.is_err(), "{name}");
        }
        assert_eq!(fs::read_to_string(victim).unwrap(), "mine");
        assert_eq!(fs::read_dir(other.path()).unwrap().count(), 1);
    }
}
