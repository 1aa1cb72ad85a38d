//! The body of an answer: bytes that are at hand, or a part of a file read as fast as the reader takes it.

use std::future::Future;
use std::io::{self, SeekFrom};
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncSeekExt, ReadBuf};
use tokio::task::JoinHandle;

use super::site::Stored;

/// Bytes read from the file at a time. Large enough that system calls cost little, small enough that a full house of
/// slow readers holds some tens of mebibytes.
const BLOCK_SIZE_BYTES: usize = 64 << 10;

/// Bytes asked of a bucket at a time: each block is a request, which takes some milliseconds whatever its size.
const STORED_BLOCK_SIZE_BYTES: u64 = 512 << 10;

/// What is sent after the head.
#[derive(Debug)]
pub(crate) enum AnswerBody {
    Memory(Option<Bytes>),
    File { file: File, remaining_bytes: u64, block: Box<[u8]> },
    Stored { stored: Stored, range: Range<u64>, reading: Option<Reading> },
}

/// A block on its way from a bucket.
type Reading = JoinHandle<io::Result<Vec<u8>>>;

impl AnswerBody {
    pub(crate) fn empty() -> Self {
        AnswerBody::Memory(None)
    }

    /// These bytes, if any.
    pub(crate) fn memory(text: impl Into<Bytes>) -> Self {
        AnswerBody::Memory(Some(text.into()))
    }

    /// These bytes of an object in a bucket.
    pub(crate) fn stored(stored: Stored, range: Range<u64>) -> Self {
        AnswerBody::Stored { stored, range, reading: None }
    }

    /// These bytes of the file.
    pub(crate) async fn file(file: std::fs::File, range: Range<u64>) -> io::Result<Self> {
        let mut file = File::from_std(file);
        if range.start > 0 {
            file.seek(SeekFrom::Start(range.start)).await?;
        }
        let block = vec![0; BLOCK_SIZE_BYTES].into_boxed_slice();
        Ok(AnswerBody::File { file, remaining_bytes: range.end - range.start, block })
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.get_mut() {
            AnswerBody::Memory(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            AnswerBody::File { remaining_bytes: 0, .. } => Poll::Ready(None),
            AnswerBody::Stored { range, .. } if range.is_empty() => Poll::Ready(None),
            AnswerBody::Stored { stored, range, reading } => {
                let block = range.start..range.end.min(range.start + STORED_BLOCK_SIZE_BYTES);
                let end = block.end;
                let work = reading.get_or_insert_with(|| {
                    let stored = stored.clone();
                    tokio::task::spawn_blocking(move || stored.read(block))
                });
                let bytes = ready!(Pin::new(work).poll(context)).map_err(io::Error::other)?;
                *reading = None;
                range.start = end;
                Poll::Ready(Some(bytes.map(|bytes| Frame::data(bytes.into()))))
            }
            AnswerBody::File { file, remaining_bytes, block } => {
                let wanted = usize::try_from(*remaining_bytes).unwrap_or(usize::MAX).min(block.len());
                let mut buffer = ReadBuf::new(&mut block[..wanted]);
                ready!(Pin::new(file).poll_read(context, &mut buffer))?;
                let bytes = Bytes::copy_from_slice(buffer.filled());
                if bytes.is_empty() {
                    return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())));
                }
                *remaining_bytes -= u64::try_from(bytes.len()).unwrap_or(0);
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            AnswerBody::Memory(bytes) => {
                bytes.as_ref().map_or(0, |bytes| u64::try_from(bytes.len()).unwrap_or(0))
            }
            AnswerBody::File { remaining_bytes, .. } => *remaining_bytes,
            AnswerBody::Stored { range, .. } => range.end.saturating_sub(range.start),
        })
    }

    fn is_end_stream(&self) -> bool {
        match self {
            AnswerBody::Memory(bytes) => bytes.is_none(),
            AnswerBody::File { remaining_bytes, .. } => *remaining_bytes == 0,
            AnswerBody::Stored { range, .. } => range.is_empty(),
        }
    }
}
