//! Small files that a person wrote, read whole: no pipe or device, which could block forever or
//! never end, and no more bytes than they may have.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

/// The bytes of a file of at most so many.
///
/// # Errors
/// Why it cannot be read, without the path.
pub(crate) fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>, String> {
    let about = fs::metadata(path).map_err(|e| cause(&e))?;
    if about.is_dir() {
        return Err("it is a folder; name a file in it".to_owned());
    }
    if !about.is_file() {
        return Err("it is not a regular file".to_owned());
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|e| cause(&e))?;
    // The file may grow between the question and the read.
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(|e| cause(&e))?;
    if bytes.len() as u64 > bytes_max {
        let got = about.len().max(bytes.len() as u64);
        return Err(format!("{got} bytes, expected at most {bytes_max}"));
    }
    Ok(bytes)
}

fn cause(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string().to_lowercase(),
    }
}
