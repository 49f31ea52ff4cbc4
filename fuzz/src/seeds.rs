//! Where inputs begin: the protocol's own test vectors, valid messages, and what was found before.

use std::{
    fs,
    path::{Path, PathBuf},
};

use argosy_domain::digest::Sha256;
use argosy_wire::bytes::{decode, encode};
use serde_json::Value;

use crate::Target;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A file of `proto/vectors`.
pub(crate) fn vectors(name: &str) -> Value {
    let path = folder().join("../proto/vectors").join(name);
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The cases of a list in such a file.
pub(crate) fn cases(file: &Value, list: &str) -> Vec<Value> {
    file[list].as_array().cloned().unwrap_or_default()
}

/// A base64url field of a case.
pub(crate) fn bytes(case: &Value, field: &str) -> Option<Vec<u8>> {
    decode(case[field].as_str()?).ok()
}

/// What earlier runs found, or what once failed: the files of `corpus/<target>`.
pub fn corpus(target: &Target) -> Vec<Vec<u8>> {
    let Ok(entries) = fs::read_dir(folder().join("corpus").join(target.name)) else {
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

/// Seeds and corpus of a target.
pub fn all(target: &Target) -> Vec<Vec<u8>> {
    let mut inputs = (target.seeds)();
    inputs.extend(corpus(target));
    inputs
}

/// The file name of an input: the beginning of its digest.
pub fn name(input: &[u8]) -> String {
    encode(&Sha256::of(input).0[..12])
}

/// Writes them where libFuzzer reads them: one file each, named by its digest.
pub fn write(target: &Target, folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    for input in all(target) {
        fs::write(folder.join(name(&input)), input).unwrap();
    }
}
