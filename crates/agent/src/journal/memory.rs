//! Storage in memory that takes no room for what is empty.
//!
//! A fresh database file is a megabyte of little but zeros; thousands of simulated agents have one
//! each.

use std::{
    collections::BTreeMap,
    io,
    sync::{PoisonError, RwLock},
};

use redb::StorageBackend;

/// Bytes that are kept, or left out, together.
const CHUNK_BYTES: usize = 1024;

/// A file that is gone with the process.
#[derive(Debug, Default)]
pub(super) struct SparseMemory(RwLock<Sparse>);

#[derive(Debug, Default)]
struct Sparse {
    len: u64,
    /// By position; what is missing is zeros.
    chunks: BTreeMap<usize, Box<[u8; CHUNK_BYTES]>>,
}

/// The parts of `offset..offset + len`: which chunk, where in it, and where in the whole.
fn parts(offset: u64, len: usize) -> io::Result<impl Iterator<Item = (usize, usize, usize)>> {
    let start = usize::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
    let end = start.checked_add(len).ok_or(io::ErrorKind::InvalidInput)?;
    let mut at = start;
    Ok(std::iter::from_fn(move || {
        let part = (at < end).then_some((at / CHUNK_BYTES, at % CHUNK_BYTES, at - start));
        at = (at / CHUNK_BYTES + 1) * CHUNK_BYTES;
        part
    }))
}

impl Sparse {
    fn covers(&self, offset: u64, len: usize) -> io::Result<()> {
        match offset.checked_add(len as u64) {
            Some(end) if end <= self.len => Ok(()),
            Some(_) | None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

impl StorageBackend for SparseMemory {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.read().unwrap_or_else(PoisonError::into_inner).len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let sparse = self.0.read().unwrap_or_else(PoisonError::into_inner);
        sparse.covers(offset, out.len())?;
        for (chunk, within, at) in parts(offset, out.len())? {
            let some = (CHUNK_BYTES - within).min(out.len() - at);
            match sparse.chunks.get(&chunk) {
                Some(bytes) => out[at..at + some].copy_from_slice(&bytes[within..within + some]),
                None => out[at..at + some].fill(0),
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut sparse = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let kept = usize::try_from(len).map_err(|_| io::ErrorKind::InvalidInput)?;
        sparse.chunks.split_off(&kept.div_ceil(CHUNK_BYTES));
        if let Some(last) = sparse.chunks.get_mut(&(kept / CHUNK_BYTES)) {
            last[kept % CHUNK_BYTES..].fill(0);
        }
        sparse.len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut sparse = self.0.write().unwrap_or_else(PoisonError::into_inner);
        sparse.covers(offset, data.len())?;
        for (chunk, within, at) in parts(offset, data.len())? {
            let some = (CHUNK_BYTES - within).min(data.len() - at);
            let data = &data[at..at + some];
            if !sparse.chunks.contains_key(&chunk) && data.iter().all(|byte| *byte == 0) {
                continue;
            }
            let bytes = sparse.chunks.entry(chunk).or_insert_with(|| Box::new([0; CHUNK_BYTES]));
            bytes[within..within + some].copy_from_slice(data);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn it_reads_back_like_a_plain_file(
            steps in proptest::collection::vec(
                (0usize..5_000, proptest::collection::vec(0u8..3, 0..2_500), any::<bool>()), 0..12
            )
        ) {
            let (sparse, mut plain) = (SparseMemory::default(), Vec::new());
            for (at, data, resize) in steps {
                if resize {
                    sparse.set_len(at as u64).unwrap();
                    plain.resize(at, 0);
                } else {
                    let fits = at + data.len() <= plain.len();
                    prop_assert_eq!(sparse.write(at as u64, &data).is_ok(), fits);
                    if fits {
                        plain[at..at + data.len()].copy_from_slice(&data);
                    }
                }
                let mut read = vec![7; plain.len()];
                sparse.read(0, &mut read).unwrap();
                prop_assert_eq!(&read, &plain);
            }
        }
    }
}
