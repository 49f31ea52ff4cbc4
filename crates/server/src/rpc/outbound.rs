//! The way out of one stream: a short queue that its reader must keep moving.
//!
//! *Invariant:* a reader that does not read costs at most [`QUEUE_FRAMES_MAX`] frames of memory,
//! and those only until it is cut off. The queue of a stream that says nothing holds pointers: a
//! channel keeps room for 32 items whatever its capacity.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use connectrpc::ConnectError;
use futures::{Stream, task::AtomicWaker};
use tokio::sync::mpsc;

/// Frames that wait for the reader at most.
pub(super) const QUEUE_FRAMES_MAX: usize = 16;

type Item<T> = Result<T, ConnectError>;
type Receiver<T> = mpsc::Receiver<Box<Item<T>>>;

/// The reader's end, which the writer can take away.
struct Shared<T> {
    receiver: Mutex<Option<Receiver<T>>>,
    /// Whoever waits at the receiver. The receiver does not wake it when it is taken away.
    waiting: AtomicWaker,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, Option<Receiver<T>>> {
        self.receiver.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The reader is gone or does not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cut;

/// The writer's end.
pub(super) struct Outbound<T> {
    queue: mpsc::Sender<Box<Item<T>>>,
    reader: Arc<Shared<T>>,
}

/// What is sent to the client. Ends when the writer is dropped.
pub(super) struct OutboundStream<T> {
    reader: Arc<Shared<T>>,
}

/// Both ends.
pub(super) fn channel<T>() -> (Outbound<T>, OutboundStream<T>) {
    let (queue, receiver) = mpsc::channel(QUEUE_FRAMES_MAX);
    let receiver = Mutex::new(Some(receiver));
    let reader = Arc::new(Shared { receiver, waiting: AtomicWaker::new() });
    (Outbound { queue, reader: Arc::clone(&reader) }, OutboundStream { reader })
}

impl<T> Outbound<T> {
    /// Queues an item; waits `patience` at most for a reader that has fallen behind.
    pub(super) async fn send(&self, item: Item<T>, patience: Duration) -> Result<(), Cut> {
        self.queue.send_timeout(Box::new(item), patience).await.map_err(|_| Cut)
    }

    /// Returns once the client has gone.
    pub(super) async fn closed(&self) {
        self.queue.closed().await;
    }

    /// Drops what the reader did not take, and ends the stream for it.
    pub(super) fn cut(&self) {
        *self.reader.lock() = None;
        self.reader.waiting.wake();
    }
}

impl<T> Stream for OutboundStream<T> {
    type Item = Item<T>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Item<T>>> {
        self.reader.waiting.register(cx.waker());
        match self.reader.lock().as_mut() {
            Some(receiver) => receiver.poll_recv(cx).map(|item| item.map(|item| *item)),
            None => Poll::Ready(None),
        }
    }
}

impl<T> Drop for OutboundStream<T> {
    fn drop(&mut self) {
        *self.reader.lock() = None;
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;

    use super::*;

    const WIDE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_reader_that_does_not_read_is_cut_off_and_its_frames_are_dropped() {
        let (out, mut reader) = channel::<Arc<()>>();
        let frame = Arc::new(());
        for _ in 0..QUEUE_FRAMES_MAX {
            assert!(out.send(Ok(Arc::clone(&frame)), WIDE).await.is_ok());
        }
        let more = out.send(Ok(Arc::clone(&frame)), Duration::from_millis(1)).await;
        assert_eq!(more, Err(Cut));
        out.cut();
        assert_eq!(Arc::strong_count(&frame), 1);
        assert!(reader.next().await.is_none());
    }

    #[tokio::test]
    async fn a_reader_that_waits_learns_that_it_was_cut_off() {
        let (out, mut reader) = channel::<u8>();
        let waiting = tokio::spawn(async move { reader.next().await });
        tokio::task::yield_now().await;
        out.cut();
        let told = tokio::time::timeout(WIDE, waiting).await;
        assert_eq!(told.expect("the reader was woken").unwrap().map(Result::ok), None);
    }

    #[tokio::test]
    async fn the_writer_notices_a_client_that_goes_and_the_reader_gets_what_was_sent() {
        let (out, mut reader) = channel::<u8>();
        out.send(Ok(1), WIDE).await.unwrap();
        assert!(matches!(reader.next().await, Some(Ok(1))));
        drop(reader);
        out.closed().await;
        assert_eq!(out.send(Ok(2), WIDE).await, Err(Cut));

        let (out, mut reader) = channel::<u8>();
        out.send(Ok(3), WIDE).await.unwrap();
        drop(out);
        assert!(matches!(reader.next().await, Some(Ok(3))));
        assert!(reader.next().await.is_none());
    }
}
