//! How a connection is closed whose client has something left to read.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// How long, and how many bytes, a client whose handshake failed is listened to before the stream
/// is closed: round trips enough for the alert to arrive, and a first flight with early data.
const PARTING_TIME: Duration = Duration::from_secs(1);
const PARTING_BYTES: usize = 256 * 1024;

/// Closes a stream so that the alert arrives: TCP answers a close that leaves bytes unread with a
/// reset, and a reset can overtake what was sent before. So the client is told that nothing more
/// comes, and is listened to until it closes its side, at most a second and 256 KiB.
pub async fn close_after_alert<IO: AsyncRead + AsyncWrite + Unpin>(mut io: IO) {
    let listen = async {
        io.shutdown().await?;
        let mut buffer = vec![0; 4096];
        let mut left = PARTING_BYTES;
        while left > 0 {
            match io.read(&mut buffer).await? {
                0 => break,
                len => left = left.saturating_sub(len),
            }
        }
        io::Result::Ok(())
    };
    // Whether it worked or not, the handshake has failed already.
    let _ = tokio::time::timeout(PARTING_TIME, listen).await;
}
