//! A send of several pieces at once.

use std::mem::MaybeUninit;

use crate::shard::Output;

/// Pieces of one send; the kernel takes no more (`UIO_MAXIOV`).
const PIECES_MAX: usize = 1024;

/// The message header and the pieces of a vectored send. Both must stay where they are
/// until the send is complete: they live on the heap, in the connection's socket.
pub(super) struct Vectors {
    header: libc::msghdr,
    pieces: Vec<libc::iovec>,
}

impl Vectors {
    /// The pieces of `output` behind its first `sent` bytes, as many as fit.
    pub(super) fn of(output: &Output, sent: usize) -> Box<Self> {
        let mut skip = sent;
        let mut pieces = Vec::new();
        for part in output.parts() {
            let skipped = skip.min(part.len());
            skip -= skipped;
            let rest = &part[skipped..];
            if !rest.is_empty() && pieces.len() < PIECES_MAX {
                let base = rest.as_ptr().cast_mut().cast();
                pieces.push(libc::iovec {
                    iov_base: base,
                    iov_len: rest.len(),
                });
            }
        }
        // SAFETY: all fields of a message header are numbers or pointers that may be null.
        let header = unsafe { MaybeUninit::<libc::msghdr>::zeroed().assume_init() };
        let mut vectors = Box::new(Self { header, pieces });
        vectors.header.msg_iov = vectors.pieces.as_mut_ptr();
        vectors.header.msg_iovlen = vectors.pieces.len();
        vectors
    }

    /// The header, for the kernel.
    pub(super) fn header(&self) -> *const libc::msghdr {
        &raw const self.header
    }
}

impl std::fmt::Debug for Vectors {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} pieces", self.pieces.len())
    }
}
