//! Notices once per incident: by mail, by a program, by a webhook. Never in the way of an answer to Postfix.
//!
//! `incidents` says what is new (pure), `mail` writes the message (pure), `send` carries it out in tasks with
//! bounds in number and time.

mod incidents;
mod mail;
mod send;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::secret::Secret;
use serde::Serialize;
use tokio::sync::mpsc;

pub use incidents::Incidents;
pub use mail::is_address;
pub use send::check_url;

/// Notices that wait to be sent at most; further ones are only counted and logged.
const QUEUE: usize = 256;

/// A step's program runs again when its limit was quiet for so long.
const RUN_QUIET: Duration = Duration::from_hours(6);

/// A `[[notice]]`.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Limits that it is about; all when empty.
    pub limits: Vec<String>,
    /// Addresses that get a mail.
    pub mail_to: Vec<String>,
    /// Whether the user gets one too, where the key or the login is an address.
    pub mail_user: bool,
    /// The sender and From of mails.
    pub mail_from: String,
    /// The program that takes mails.
    pub sendmail: String,
    /// A program that is told as JSON on standard input; with its arguments.
    pub command: Vec<String>,
    /// A URL that is told as JSON by POST.
    pub webhook: Option<String>,
    /// The value of the header Authorization there.
    pub webhook_authorization: Option<Secret>,
    /// How long a program or the webhook may take.
    pub timeout: Duration,
    /// A limit that was quiet for so long begins a new incident.
    pub quiet: Duration,
    /// Whether limits in a dry run are told of.
    pub dry_run: bool,
}

/// That a limit was reached: what a notice tells.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub struct Refusal {
    /// The limit.
    pub limit: String,
    /// The key, as it is shown.
    pub key: String,
    /// `sasl_username`.
    pub login: String,
    /// `client_address`.
    pub client: String,
    /// `sender`.
    pub sender: String,
    /// `recipient`, where it was known.
    pub recipient: String,
    /// What is counted: `recipients` and so on.
    pub count: String,
    /// What was used.
    pub used: u64,
    /// What is allowed.
    pub allowed: u64,
    /// What Postfix was told.
    pub action: String,
    /// Seconds until it is worth trying again; absent when never.
    pub retry_after: Option<u64>,
    /// Which of the limit's steps it is: 1 for the first, 2 and up for those of `escalate`.
    pub step: u32,
    /// Whether nothing was refused in truth.
    pub dry_run: bool,
    /// This host's name.
    pub host: String,
    /// Seconds since 1970.
    pub time: u64,
}

/// What is to be done about a refusal.
#[derive(Debug, Clone)]
pub(super) enum Task {
    /// Tell of it as a `[[notice]]` says.
    Tell(Arc<Settings>, Arc<Refusal>),
    /// Run the program of a step.
    Run(Vec<String>, Arc<Refusal>),
}

/// Figures for the metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Notices handed to senders.
    pub begun: u64,
    /// Notices that there was no room for.
    pub dropped: u64,
    /// Ways (a mail, a program, a webhook) that have failed.
    pub failed: u64,
}

/// The door: told of refusals, it tells those who want to know.
#[derive(Debug)]
pub struct Notices {
    settings: Vec<Arc<Settings>>,
    incidents: Mutex<Incidents>,
    queue: mpsc::Sender<Task>,
    figures: Arc<Mutex<Figures>>,
}

impl Notices {
    /// Starts the task that sends; it ends when this is dropped and the queue is empty. Must be called
    /// within a runtime.
    ///
    /// # Errors
    /// A sentence: a webhook's URL is none, or TLS cannot be set up.
    pub fn start(settings: Vec<Settings>) -> Result<Self, String> {
        let (queue, tasks) = mpsc::channel(QUEUE);
        let figures = Arc::new(Mutex::new(Figures::default()));
        let sender = send::Sender::new(&settings, Arc::clone(&figures))?;
        tokio::spawn(sender.run(tasks));
        let settings = settings.into_iter().map(Arc::new).collect();
        Ok(Self { settings, incidents: Mutex::default(), queue, figures })
    }

    /// Tells of a refusal, if it begins an incident or reaches a further step of one. Never waits.
    pub fn refused(&self, refusal: &Refusal) {
        let mut shared = None;
        for (index, settings) in self.settings.iter().enumerate() {
            let wanted = settings.limits.is_empty() || settings.limits.contains(&refusal.limit);
            if !wanted || (refusal.dry_run && !settings.dry_run) {
                continue;
            }
            let new = self.incidents.lock().unwrap_or_else(PoisonError::into_inner).begins(
                index,
                refusal,
                settings.quiet,
            );
            if new {
                let refusal = shared.get_or_insert_with(|| Arc::new(refusal.clone()));
                self.put(Task::Tell(Arc::clone(settings), Arc::clone(refusal)));
            }
        }
    }

    /// Runs the program of a step (`RUN`), once per incident, which is over after [`RUN_QUIET`]. Never waits.
    pub fn run(&self, command: &[String], refusal: &Refusal) {
        // Programs have a place of their own in the table of incidents, after all notices.
        let new = self.incidents.lock().unwrap_or_else(PoisonError::into_inner).begins(
            self.settings.len(),
            refusal,
            RUN_QUIET,
        );
        if new {
            self.put(Task::Run(command.to_vec(), Arc::new(refusal.clone())));
        }
    }

    fn put(&self, task: Task) {
        let full = self.queue.try_send(task).is_err();
        let mut figures = self.figures.lock().unwrap_or_else(PoisonError::into_inner);
        if full {
            figures.dropped += 1;
            if figures.dropped.is_power_of_two() {
                log::warn!(
                    "notice: {QUEUE} are waiting to be sent; {} were left out so far",
                    figures.dropped
                );
            }
        } else {
            figures.begun += 1;
        }
    }

    /// Takes over what is known of incidents from the notices before a reload, where the settings are as
    /// many: nobody is told twice.
    pub fn inherit(&self, before: &Self) {
        if before.settings.len() == self.settings.len() {
            let mut ours = self.incidents.lock().unwrap_or_else(PoisonError::into_inner);
            *ours = before.incidents.lock().unwrap_or_else(PoisonError::into_inner).clone();
        }
    }

    /// Figures for the metrics.
    #[must_use]
    pub fn figures(&self) -> Figures {
        *self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
