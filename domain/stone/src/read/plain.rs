//! The plain bytes of a payload: decompressed, counted, and compared with the checksum.

use std::io::{self, BufRead, BufReader, Read};

use zstd::stream::read::Decoder;
use zstd::zstd_safe::{DCtx, ResetDirective};

use crate::container::{Compression, PayloadHeader};
use crate::digest::Hasher;
use crate::frame::{self, FRAME_HEADER_BYTES_MAX, PLAIN_PER_STORED_BYTE_MAX};
use crate::limits::Limits;
use crate::place::PayloadPlace;
use crate::read::ReadError;

/// Bytes moved at a time: a zstd block, the most that the decompressor gives at once.
const BUFFER_BYTES: usize = 128 * 1024;

/// Why a stream of plain bytes stopped: the payload is at fault, or who takes its bytes.
pub(crate) enum StreamError<E> {
    Read(ReadError),
    Consumer(E),
}

impl<E> From<ReadError> for StreamError<E> {
    fn from(error: ReadError) -> Self {
        StreamError::Read(error)
    }
}

impl From<StreamError<ReadError>> for ReadError {
    fn from(error: StreamError<ReadError>) -> Self {
        match error {
            StreamError::Read(error) | StreamError::Consumer(error) => error,
        }
    }
}

/// A decompressor that serves one payload after the other: setting one up costs more than a small payload does.
#[derive(Default)]
pub(crate) struct Decompressor(Option<DCtx<'static>>);

impl Decompressor {
    /// As good as new, whatever became of the payload before.
    fn fresh(&mut self) -> io::Result<&mut DCtx<'static>> {
        let context = match self.0.take() {
            Some(mut used) => used.reset(ResetDirective::SessionAndParameters).is_ok().then_some(used),
            None => None,
        };
        let context = context.or_else(DCtx::try_create).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(self.0.insert(context))
    }
}

/// Hands the plain bytes of a payload to `consume`, piece by piece. The source stands behind the header; afterwards it
/// stands behind the payload, if all went well.
///
/// Where the stored bytes are not those of the checksum, that is the error, whatever else they led to; only an error of
/// `consume` ends it at once.
pub(crate) fn stream<R: Read, E>(
    source: &mut R,
    place: PayloadPlace,
    header: &PayloadHeader,
    compression: Compression,
    limits: &Limits,
    decompressor: &mut Decompressor,
    consume: &mut dyn FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), StreamError<E>> {
    let stored_size_bytes = header.stored_size_bytes;
    let possible = match compression {
        Compression::None => stored_size_bytes == header.plain_size_bytes,
        Compression::Zstd => {
            header.plain_size_bytes <= stored_size_bytes.saturating_mul(PLAIN_PER_STORED_BYTE_MAX)
        }
    };
    if !possible {
        let plain_size_bytes = header.plain_size_bytes;
        return Err(ReadError::ImpossibleSize { place, stored_size_bytes, plain_size_bytes }.into());
    }
    let mut stored = Stored { source: source.take(stored_size_bytes), hasher: Hasher::new(), failed: None };
    let mut body = Body { place, header, limits, consume };
    let outcome = match compression {
        Compression::None => body.copy(&mut stored).map(|_| ()),
        Compression::Zstd => body.decompress(&mut stored, decompressor),
    };
    if let Err(StreamError::Consumer(error)) = outcome {
        return Err(StreamError::Consumer(error));
    }
    // What is left, if something went wrong or bytes follow the frame.
    if stored.failed.is_none() {
        let _counted = io::copy(&mut stored, &mut io::sink());
    }
    let offset = place.offset + 32 + (stored_size_bytes - stored.source.limit());
    if let Some(source) = stored.failed.take() {
        return Err(ReadError::Source { offset, source }.into());
    }
    if stored.source.limit() > 0 {
        let left_bytes = stored_size_bytes - stored.source.limit();
        return Err(ReadError::TruncatedPayload { place, stored_size_bytes, left_bytes }.into());
    }
    let found = stored.hasher.checksum();
    if found != header.checksum {
        return Err(ReadError::ChecksumMismatch { place, expected: header.checksum, found }.into());
    }
    outcome
}

/// The stored bytes of a payload, hashed as they pass. Keeps the source's error, so that it is not taken for damage.
struct Stored<'a, R> {
    source: io::Take<&'a mut R>,
    hasher: Hasher,
    failed: Option<io::Error>,
}

impl<R: Read> Read for Stored<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.source.read(buffer) {
            Ok(length) => {
                self.hasher.update(&buffer[..length]);
                Ok(length)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                let kind = error.kind();
                self.failed = Some(error);
                Err(kind.into())
            }
        }
    }
}

/// A payload on its way to whoever takes its plain bytes.
struct Body<'a, E> {
    place: PayloadPlace,
    header: &'a PayloadHeader,
    limits: &'a Limits,
    consume: &'a mut dyn FnMut(&[u8]) -> Result<(), E>,
}

impl<E> Body<'_, E> {
    /// Takes exactly as many plain bytes as the header says.
    fn copy(&mut self, plain: &mut dyn Read) -> Result<(), StreamError<E>> {
        let (place, plain_size_bytes) = (self.place, self.header.plain_size_bytes);
        // One byte more than there may be, so that a small body is seen to end with one read.
        let buffer_bytes =
            usize::try_from(plain_size_bytes).unwrap_or(BUFFER_BYTES).min(BUFFER_BYTES - 1) + 1;
        let mut buffer = vec![0; buffer_bytes];
        let mut found_bytes: u64 = 0;
        loop {
            let length = match plain.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(ReadError::Decompress { place, source }.into()),
            };
            found_bytes += u64::try_from(length).unwrap_or(u64::MAX);
            if found_bytes > plain_size_bytes {
                return Err(ReadError::PlainTooLong { place, plain_size_bytes }.into());
            }
            (self.consume)(&buffer[..length]).map_err(StreamError::Consumer)?;
        }
        if found_bytes < plain_size_bytes {
            return Err(ReadError::PlainTooShort { place, plain_size_bytes, found_bytes }.into());
        }
        Ok(())
    }

    fn decompress<R: Read>(
        &mut self,
        stored: &mut Stored<'_, R>,
        decompressor: &mut Decompressor,
    ) -> Result<(), StreamError<E>> {
        let place = self.place;
        let damaged = |source| ReadError::Decompress { place, source };
        let mut beginning = Vec::with_capacity(FRAME_HEADER_BYTES_MAX);
        let header_bytes = u64::try_from(FRAME_HEADER_BYTES_MAX).unwrap_or(u64::MAX);
        stored.by_ref().take(header_bytes).read_to_end(&mut beginning).map_err(damaged)?;
        self.check_frame(&beginning)?;
        let buffer_bytes =
            usize::try_from(stored.source.limit()).unwrap_or(BUFFER_BYTES).clamp(64, BUFFER_BYTES);
        let whole = io::Cursor::new(beginning).chain(BufReader::with_capacity(buffer_bytes, stored));
        let mut decoder = Decoder::with_context(whole, decompressor.fresh().map_err(damaged)?).single_frame();
        // zstd knows windows of 2^10 to 2^31 bytes.
        decoder.window_log_max(self.limits.window_log_max.clamp(10, 31)).map_err(damaged)?;
        self.copy(&mut decoder)?;
        let mut rest = decoder.finish();
        match rest.fill_buf() {
            Ok([]) => Ok(()),
            Ok(_) => Err(ReadError::BytesAfterFrame { place }.into()),
            Err(source) => Err(damaged(source).into()),
        }
    }

    /// Compares what the frame says about itself with the limits and with the payload header.
    fn check_frame(&self, beginning: &[u8]) -> Result<(), ReadError> {
        let place = self.place;
        let plain_size_bytes = self.header.plain_size_bytes;
        let frame = frame::parse(beginning).ok_or(ReadError::NotAFrame { place })?;
        let too_large =
            |window_bytes, limit_bytes| Err(ReadError::WindowTooLarge { place, window_bytes, limit_bytes });
        let window_limit = 1_u64.checked_shl(self.limits.window_log_max).unwrap_or(u64::MAX);
        match frame.content_bytes {
            Some(frame_bytes) if frame_bytes != plain_size_bytes => {
                return Err(ReadError::FrameSizeDiffers { place, frame_bytes, plain_size_bytes });
            }
            Some(frame_bytes) => {
                let buffer_bytes = frame.window_bytes.min(frame_bytes);
                if buffer_bytes > self.limits.window_bytes_max {
                    return too_large(buffer_bytes, self.limits.window_bytes_max);
                }
            }
            None if frame.window_bytes > self.limits.unsized_window_bytes_max => {
                return too_large(frame.window_bytes, self.limits.unsized_window_bytes_max);
            }
            None => {}
        }
        if frame.window_bytes > window_limit {
            return too_large(frame.window_bytes, window_limit);
        }
        Ok(())
    }
}
