//! Names of Unix sockets as their programs gave them. The supervisor binds in the folder that was decided, by the last
//! component alone, which is all that the kernel then knows.

use std::collections::VecDeque;
use std::sync::Mutex;

/// As many names are kept, the latest ones.
const NAMES_MAX: usize = 4096;

/// Paths by the socket's inode.
#[derive(Debug, Default)]
pub struct Bound(Mutex<VecDeque<(u64, Vec<u8>)>>);

impl Bound {
    /// A socket got this path as its name.
    pub fn put(&self, inode: u64, path: Vec<u8>) {
        let Ok(mut names) = self.0.lock() else { return };
        // Of an older socket.
        names.retain(|(of, _)| *of != inode);
        if names.len() == NAMES_MAX {
            names.pop_front();
        }
        names.push_back((inode, path));
    }

    /// The path that a socket was bound by.
    pub fn get(&self, inode: u64) -> Option<Vec<u8>> {
        let names = self.0.lock().ok()?;
        names.iter().rev().find(|(of, _)| *of == inode).map(|(_, path)| path.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_names_are_kept() {
        let bound = Bound::default();
        for inode in 0..=NAMES_MAX as u64 {
            bound.put(inode, inode.to_string().into_bytes());
        }
        bound.put(7, b"again".to_vec());
        assert_eq!(bound.get(0), None);
        assert_eq!(bound.get(1), Some(b"1".to_vec()));
        assert_eq!(bound.get(7), Some(b"again".to_vec()));
    }
}
