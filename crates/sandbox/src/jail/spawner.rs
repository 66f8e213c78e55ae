//! One thread starts every jail: a child that dies with its parent dies with the *thread* that
//! started it, and threads of rollouts come and go.

use std::io;
use std::process::{Child, Command};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, OnceLock, PoisonError};

struct Order {
    command: Command,
    reply: Sender<io::Result<Child>>,
}

static ORDERS: OnceLock<Mutex<Sender<Order>>> = OnceLock::new();

/// Starts a command from the thread that outlives every jail.
pub(super) fn spawn(command: Command) -> io::Result<Child> {
    let (reply, answer) = channel();
    let orders = ORDERS.get_or_init(|| Mutex::new(start()));
    let sent = orders.lock().unwrap_or_else(PoisonError::into_inner).send(Order { command, reply });
    let lost = || io::Error::other("the thread that starts jails is gone");
    sent.map_err(|_| lost())?;
    answer.recv().map_err(|_| lost())?
}

fn start() -> Sender<Order> {
    let (sender, orders) = channel::<Order>();
    std::thread::spawn(move || {
        for Order { mut command, reply } in orders {
            // Who asked and went away takes the child with it: dropping a child does not end it.
            if let Err(lost) = reply.send(command.spawn())
                && let Ok(mut child) = lost.0
            {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    });
    sender
}
