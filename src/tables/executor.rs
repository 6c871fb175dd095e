//! Runs the Delta kernel's futures on the thread that waits for them. Our store answers at once (local files), so there is
//! nothing to overlap, and without a runtime there is no thread that the system could refuse.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use delta_kernel::KernelResult;
use delta_kernel_default_engine::executor::TaskExecutor;
use futures::future::BoxFuture;

/// The kernel's own executors start threads and panic, or wait for ever, where they get none. The kernel also blocks
/// within a future (writing a log checkpoint does): here that is a nested call and nothing else.
#[derive(Debug)]
pub struct Inline;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn wait_for<T: Future>(task: T) -> T::Output {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut task = pin!(task);
    loop {
        if let Poll::Ready(output) = task.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        // A wake between the poll and here is kept: `park` returns at once. A nested wait may eat a wake of this one, so
        // it passes one on.
        std::thread::park();
    }
}

impl TaskExecutor for Inline {
    type Guard<'a> = ();

    fn block_on<T>(&self, task: T) -> T::Output
    where
        T: Future + Send + 'static,
        T::Output: Send + 'static,
    {
        let output = wait_for(task);
        std::thread::current().unpark();
        output
    }

    /// The kernel's engine starts nothing in the background; what it would start is done at once.
    fn spawn<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.block_on(task);
    }

    fn spawn_blocking<T, R>(&self, task: T) -> BoxFuture<'_, KernelResult<R>>
    where
        T: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
    {
        Box::pin(async move { Ok(task()) })
    }

    fn enter(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_for_another_thread_also_within_a_wait() {
        let (sender, receiver) = futures::channel::oneshot::channel::<u8>();
        let (inner_sender, inner) = futures::channel::oneshot::channel::<u8>();
        let other = std::thread::spawn(move || {
            sender.send(1).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(20));
            inner_sender.send(2).unwrap();
        });
        let sum = Inline.block_on(async move {
            let inner = Inline.block_on(inner).unwrap();
            receiver.await.unwrap() + inner
        });
        assert_eq!(sum, 3);
        other.join().unwrap();
        assert_eq!(futures::executor::block_on(Inline.spawn_blocking(|| 4)).unwrap(), 4);
    }
}
