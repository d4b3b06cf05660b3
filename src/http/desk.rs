//! Questions to the shards of this node, and their answers.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use shards::Stats;
use shards::operator::{Answer, Operator, QUESTIONS_MAX, Question};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;

use crate::cluster::news::News;

/// How long a shard may take to answer: far above what it ever needs.
const PATIENCE: Duration = Duration::from_secs(5);

/// A shard has not answered: it stops, or hangs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct NoAnswer;

/// The shards, for the tasks of one thread.
pub(super) struct Desk {
    operator: RefCell<Operator>,
    /// A permit for each question that a shard may have.
    permits: Vec<Arc<Semaphore>>,
    next: Cell<u64>,
    /// By number. Whoever gave up stays until the answer comes.
    waiting: RefCell<HashMap<u64, Waiting>>,
}

struct Waiting {
    tell: oneshot::Sender<Answer>,
    _permit: OwnedSemaphorePermit,
}

impl Desk {
    pub(super) fn new(operator: Operator) -> Self {
        let shards = usize::from(operator.shards());
        Self {
            permits: (0..shards)
                .map(|_| Arc::new(Semaphore::new(QUESTIONS_MAX)))
                .collect(),
            operator: RefCell::new(operator),
            next: Cell::new(0),
            waiting: RefCell::default(),
        }
    }

    pub(super) fn shards(&self) -> u16 {
        self.permits.len() as u16
    }

    /// The shard that a client identifier belongs to.
    pub(super) fn shard_of(&self, client_id: &str) -> u16 {
        self.operator.borrow().shard_of(client_id)
    }

    /// The counters of each shard.
    pub(super) fn stats(&self) -> Vec<Arc<Stats>> {
        self.operator.borrow().stats().to_vec()
    }

    /// No client is let in from now on.
    pub(super) fn start_drain(&self, reference: &str) {
        self.operator.borrow().start_drain(reference);
    }

    /// Clients are let in again.
    pub(super) fn stop_drain(&self) {
        self.operator.borrow().stop_drain();
    }

    /// Whether there are other nodes that may be given sessions.
    pub(super) fn has_open_nodes(&self) -> bool {
        self.operator.borrow().has_open_nodes()
    }

    pub(super) fn uptime_ms(&self) -> u64 {
        self.operator.borrow().uptime_ms()
    }

    /// Asks a shard, and waits for its answer.
    pub(super) async fn ask(&self, shard: u16, question: Question) -> Result<Answer, NoAnswer> {
        let asked = async {
            let permits = self.permits.get(usize::from(shard)).ok_or(NoAnswer)?;
            let permit = Arc::clone(permits).acquire_owned().await;
            let number = self.next.get();
            self.next.set(number + 1);
            let (tell, told) = oneshot::channel();
            let waiting = Waiting {
                tell,
                _permit: permit.map_err(|_| NoAnswer)?,
            };
            self.waiting.borrow_mut().insert(number, waiting);
            let question = Box::new(question);
            let asked = self.operator.borrow_mut().ask(shard, number, question);
            if asked.is_err() {
                self.waiting.borrow_mut().remove(&number);
                return Err(NoAnswer);
            }
            told.await.map_err(|_| NoAnswer)
        };
        timeout(PATIENCE, asked).await.unwrap_or(Err(NoAnswer))
    }

    /// Hands the answers that have come to who waits for them.
    fn hand_out(&self) {
        let mut operator = self.operator.borrow_mut();
        operator.clear_news();
        let mut waiting = self.waiting.borrow_mut();
        operator.answers(&mut |number, answer| {
            if let Some(waiting) = waiting.remove(&number) {
                // Who asked may have given up.
                _ = waiting.tell.send(answer);
            }
        });
    }

    /// Hands out answers for ever.
    pub(super) async fn pump(self: Rc<Self>) -> io::Result<()> {
        let news = News::on(self.operator.borrow().news_fd())?;
        loop {
            self.hand_out();
            news.come().await?;
        }
    }
}
