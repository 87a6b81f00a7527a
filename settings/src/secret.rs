//! Secret values, which are masked in output, and files that contain them.

use std::fs::{File, Metadata};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Maximum size of a file with a secret.
const SECRET_FILE_BYTES: u64 = 64 * 1024;

/// The secret in `text`: the content of the file for `@/path`, or else the text itself.
pub fn secret(text: &str) -> Result<String, String> {
    match text.strip_prefix('@') {
        Some(path) => read_secret(Path::new(path)),
        None => Ok(text.to_owned()),
    }
}

pub(crate) fn is_secret(name: &str) -> bool {
    // The URL of a store contains its password.
    let is_url = name == "store";
    is_url
        || ["secret", "keys", "password", "admin-token"]
            .iter()
            .any(|word| name.contains(word))
        // These are a number and names, not secrets.
        && !name.ends_with("-seconds")
}

/// True if every user of the host can read a file with these permissions.
pub(crate) fn is_public(mode: u32) -> bool {
    mode & 0o004 != 0
}

/// Permissions of a regular file; `None` for a pipe or terminal.
pub(crate) fn mode_of(metadata: Option<Metadata>) -> Option<u32> {
    let metadata = metadata.filter(Metadata::is_file)?;
    Some(metadata.permissions().mode() & 0o777)
}

/// Reads a secret from a file. Each line is an item of a list.
fn read_secret(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let mut text = String::new();
    let file = File::open(path).map_err(|error| format!("cannot read {shown}: {error}"))?;
    if let Some(mode) = mode_of(file.metadata().ok()).filter(|mode| is_public(*mode)) {
        return Err(format!(
            "{shown} can be read by every user of this host (mode {mode:03o}): chmod o-r {shown}"
        ));
    }
    let read = file.take(SECRET_FILE_BYTES + 1).read_to_string(&mut text);
    read.map_err(|error| format!("cannot read {shown}: {error}"))?;
    if text.len() as u64 > SECRET_FILE_BYTES {
        return Err(format!("{shown} has more than {SECRET_FILE_BYTES} bytes"));
    }
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let secret = lines.collect::<Vec<_>>().join(",");
    if secret.is_empty() {
        return Err(format!("{shown} is empty"));
    }
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_others_can_read_keeps_no_secret() {
        let path = std::env::temp_dir().join(format!("spillway-mode-{}", std::process::id()));
        std::fs::write(&path, "first\n\n  second \n").unwrap();
        let read = |mode| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            secret(&format!("@{}", path.display()))
        };
        let (all, group, own) = (read(0o644), read(0o640), read(0o400));
        std::fs::remove_file(&path).unwrap();
        let said = all.unwrap_err();
        assert!(said.contains("(mode 644): chmod o-r"), "{said}");
        assert_eq!(
            (group, own),
            (Ok("first,second".to_owned()), Ok("first,second".to_owned()))
        );
        assert!(secret("@/dev/null").unwrap_err().contains("is empty"));
    }
}
