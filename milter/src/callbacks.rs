//! The only file that knows indymilter: packets become calls of the session, its answers become
//! replies and edits.
//!
//! A panic while one message is handled is caught here: that message gets a temporary failure, the
//! connection and the daemon go on.

use std::ffi::{CStr, CString};
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use base::clock::unix_now;
use bytes::Bytes;
use indymilter::{
    Actions, Callbacks, Config, Context, ContextActions, EomContext, Listener, MacroStage, Macros,
    NegotiateContext, ProtoOpts, SetErrorReply, SmtpReply, SocketInfo, Status,
};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::active::Active;
use crate::edits::Edit;
use crate::pipeline;
use crate::session::{Client, Reply, Session, Step};

/// A packet may take this long to be written or to arrive in full; `Connection` has the shorter
/// limits that the configuration sets.
const PACKET_TIMEOUT: Duration = Duration::from_secs(8 * 3600);

/// A source of connections that indymilter can poll. It ends by never yielding again.
pub trait Connections: Unpin {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// Polls for the next connection; never fails.
    fn poll_next(&mut self, cx: &mut TaskContext<'_>) -> Poll<Self::Stream>;
}

struct Source<C>(C);

impl<C: Connections> Listener for Source<C> {
    type Io = C::Stream;

    fn poll_accept(&mut self, cx: &mut TaskContext<'_>) -> Poll<std::io::Result<C::Stream>> {
        self.0.poll_next(cx).map(Ok)
    }
}

/// Serves connections until `end` completes, then lets every session finish the packet it is at.
/// Each connection keeps the configuration that is active when it begins.
pub async fn serve<C: Connections>(
    connections: C,
    active: Arc<ArcSwap<Active>>,
    end: impl Future<Output = ()>,
) {
    let config = Config {
        // The accept loop has the limit; this one is never reached.
        max_connections: tokio::sync::Semaphore::MAX_PERMITS,
        actions: Actions::empty(),
        connection_timeout: PACKET_TIMEOUT,
    };
    if let Err(error) = indymilter::run(Source(connections), callbacks(active), config, end).await {
        // Cannot happen: a `Connections` never fails.
        log::error!("no more connections are taken: {error}");
    }
}

fn callbacks(active: Arc<ArcSwap<Active>>) -> Callbacks<Session> {
    Callbacks::new()
        .on_negotiate(move |cx, actions, options| {
            let status = negotiate(&active.load_full(), cx, actions, options);
            Box::pin(async move { status })
        })
        .on_connect(|cx, host, socket| {
            let status = on_connect(cx, &host, &socket);
            Box::pin(async move { status })
        })
        .on_mail(|cx, arguments| {
            let status = on_mail(cx, &arguments);
            Box::pin(async move { status })
        })
        .on_rcpt(|cx, arguments| {
            let status = guarded(cx, |session, _| {
                session.recipient(arguments.first().map_or(&[], |first| first.to_bytes()))
            });
            let status =
                if session_options(cx).contains(ProtoOpts::NOREPLY_RCPT) { Status::Noreply } else { status };
            Box::pin(async move { status })
        })
        .on_header(|cx, name, value| {
            let status = guarded(cx, |session, _| session.header(name.to_bytes(), value.to_bytes()));
            let status = if session_options(cx).contains(ProtoOpts::NOREPLY_HEADER) {
                Status::Noreply
            } else {
                status
            };
            Box::pin(async move { status })
        })
        .on_eoh(|cx| {
            let status = guarded(cx, |session, macros| {
                session.set_queue_id(macros.get(c"i").map(CStr::to_bytes));
                pipeline::end_of_headers(session, unix_now(), &|name| macro_value(macros, name))
            });
            Box::pin(async move { status })
        })
        .on_body(|cx, chunk| {
            let status = on_body(cx, &chunk);
            Box::pin(async move { status })
        })
        .on_eom(|cx| Box::pin(end_of_message(cx)))
        .on_abort(|cx| {
            guarded(cx, |session, _| {
                session.forget_message();
                Step::Continue
            });
            Box::pin(async { Status::Continue })
        })
}

/// Asks for what we need and no more: every packet that is not sent and every reply that is not
/// waited for is saved on both sides.
fn negotiate(
    active: &Arc<Active>,
    cx: &mut NegotiateContext<Session>,
    actions: Actions,
    options: ProtoOpts,
) -> Status {
    let settings = &active.settings;
    let mut wanted_actions = Actions::ADD_HEADER | Actions::CHANGE_HEADER;
    if may_quarantine(&active.settings.actions) {
        wanted_actions |= Actions::QUARANTINE;
    }
    if !actions.contains(wanted_actions) {
        log::error!(
            "the MTA does not offer the milter actions that are needed (adding and changing header fields): \
             the connection is closed"
        );
    }
    let mut wanted =
        ProtoOpts::NO_HELO | ProtoOpts::NO_DATA | ProtoOpts::NO_UNKNOWN | ProtoOpts::LEADING_SPACE;
    if settings.limits.suppress_replies {
        wanted |= ProtoOpts::NOREPLY_HEADER | ProtoOpts::NOREPLY_BODY | ProtoOpts::NOREPLY_MAIL;
        // Recipients matter to one parameter alone.
        wanted |= match settings.signing.dont_sign_mail_to.is_empty() {
            true => ProtoOpts::NO_RCPT,
            false => ProtoOpts::NOREPLY_RCPT,
        };
    } else {
        wanted |= ProtoOpts::SKIP;
    }
    let agreed = wanted & options;
    if actions.contains(Actions::REQUEST_MACROS) {
        wanted_actions |= Actions::REQUEST_MACROS;
        let more: String =
            settings.clients.macros.names().map(|name| format!(" {}", in_braces(name))).collect();
        for (stage, names) in [
            (MacroStage::Connect, format!("j {{daemon_name}}{more}")),
            (MacroStage::Helo, more.trim().to_owned()),
            (MacroStage::Mail, format!("i {{auth_type}}{more}")),
            (MacroStage::Rcpt, more.trim().to_owned()),
            (MacroStage::Eoh, format!("i{more}")),
            (MacroStage::Eom, "i".to_owned()),
        ] {
            // A name with a NUL in it cannot be asked for.
            if let Ok(names) = CString::new(names) {
                cx.requested_macros.insert(stage, names);
            }
        }
    }
    cx.requested_actions = wanted_actions;
    cx.requested_opts = agreed;
    cx.data = Some(Session::new(Arc::clone(active), agreed.bits()));
    Status::Continue
}

fn may_quarantine(actions: &crate::config::Actions) -> bool {
    let crate::config::Actions {
        bad_signature,
        key_not_found,
        no_signature,
        dns_error,
        internal_error,
        security,
        signature_error,
    } = *actions;
    [bad_signature, key_not_found, no_signature, internal_error, security, signature_error]
        .into_iter()
        .chain(dns_error)
        .any(|action| action == crate::config::Action::Quarantine)
}

fn on_connect(cx: &mut Context<Session>, host: &CStr, socket: &SocketInfo) -> Status {
    let address = match socket {
        SocketInfo::Inet(address) => Some(address.ip()),
        SocketInfo::Unix(_) | SocketInfo::Unknown => None,
    };
    let client = Client {
        host: host.to_string_lossy().into_owned(),
        address: address.map(|ip| match ip {
            IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(ip, IpAddr::V4),
            IpAddr::V4(_) => ip,
        }),
    };
    guarded(cx, |session, macros| {
        session.connect(
            client,
            macro_value(macros, "j").unwrap_or_default().to_owned(),
            macro_value(macros, "daemon_name").unwrap_or_default().to_owned(),
        )
    })
}

fn on_mail(cx: &mut Context<Session>, _arguments: &[CString]) -> Status {
    let status = guarded(cx, |session, macros| {
        session.begin_message(macro_value(macros, "auth_type").is_some_and(|kind| !kind.is_empty()));
        session.set_queue_id(macros.get(c"i").map(CStr::to_bytes));
        Step::Continue
    });
    if session_options(cx).contains(ProtoOpts::NOREPLY_MAIL) { Status::Noreply } else { status }
}

fn on_body(cx: &mut Context<Session>, chunk: &Bytes) -> Status {
    let options = session_options(cx);
    let mut wants_more = true;
    let status = guarded(cx, |session, _| {
        wants_more = pipeline::body(session, chunk);
        Step::Continue
    });
    match status {
        _ if options.contains(ProtoOpts::NOREPLY_BODY) => Status::Noreply,
        Status::Continue if !wants_more && options.contains(ProtoOpts::SKIP) => Status::Skip,
        status => status,
    }
}

async fn end_of_message(cx: &mut EomContext<Session>) -> Status {
    let queue_id = cx.macros.get(c"i").map(|id| id.to_bytes().to_vec());
    let Some(session) = &mut cx.data else { return Status::Tempfail };
    session.set_queue_id(queue_id.as_deref());
    let leading_space = ProtoOpts::from_bits_truncate(session.options()).contains(ProtoOpts::LEADING_SPACE);
    let Ok(outcome) = CatchPanic(std::pin::pin!(pipeline::end_of_message(session))).await else {
        session.forget_message();
        return tell_panic(session);
    };
    session.forget_message();
    for edit in outcome.edits {
        if let Err(error) = apply(cx, edit, leading_space).await {
            log::error!("the MTA did not take a change to the header: {error}; the message is deferred");
            return Status::Tempfail;
        }
    }
    if let Some(reason) = outcome.quarantine
        && let Err(error) = cx.actions.quarantine(reason).await
    {
        log::error!("the MTA did not take the message into quarantine: {error}; it is deferred");
        return Status::Tempfail;
    }
    status(&mut cx.reply, outcome.step)
}

async fn apply(
    cx: &EomContext<Session>,
    edit: Edit,
    leading_space: bool,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    match edit {
        Edit::Delete { name, occurrence } => {
            cx.actions.change_header(name, i32::try_from(occurrence)?, None::<CString>).await?;
        }
        Edit::Insert { name, value } => {
            let value = if leading_space { format!(" {value}") } else { value };
            cx.actions.insert_header(0, name, value).await?;
        }
    }
    Ok(())
}

fn session_options(cx: &Context<Session>) -> ProtoOpts {
    ProtoOpts::from_bits_truncate(cx.data.as_ref().map_or(0, Session::options))
}

/// A macro's value as text; the name as the configuration has it, without braces.
fn macro_value<'a>(macros: &'a Macros, name: &str) -> Option<&'a str> {
    let name = CString::new(in_braces(name)).ok()?;
    macros.get(&name)?.to_str().ok()
}

/// A macro's name as the protocol has it: braces around more than one letter.
fn in_braces(name: &str) -> String {
    let bare = name.trim_start_matches('{').trim_end_matches('}');
    if bare.len() == 1 { bare.to_owned() } else { format!("{{{bare}}}") }
}

/// Calls the session for one packet and turns its answer into a status.
fn guarded(cx: &mut Context<Session>, call: impl FnOnce(&mut Session, &Macros) -> Step) -> Status {
    let Some(session) = &mut cx.data else { return Status::Tempfail };
    let macros = &cx.macros;
    match catch_unwind(AssertUnwindSafe(|| call(session, macros))) {
        Ok(step) => status(&mut cx.reply, step),
        Err(_panic) => {
            session.fail_message();
            tell_panic(session)
        }
    }
}

fn tell_panic(session: &Session) -> Status {
    log::error!(
        "{}: a mistake in this program stopped the handling of this message; it is deferred (451) and \
         nothing else is affected. Please report the line about a panic above",
        session.queue_id()
    );
    Status::Tempfail
}

fn status(reply: &mut SmtpReply, step: Step) -> Status {
    match step {
        Step::Continue => Status::Continue,
        Step::Accept => Status::Accept,
        Step::Discard => Status::Discard,
        Step::Tempfail(text) => {
            set_reply(reply, text);
            Status::Tempfail
        }
        Step::Reject(text) => {
            set_reply(reply, text);
            Status::Reject
        }
    }
}

fn set_reply(to: &mut SmtpReply, reply: Option<Reply>) {
    if let Some(Reply { code, enhanced, text }) = reply
        && let Err(error) = to.set_error_reply(code, Some(enhanced), [text])
    {
        log::error!("the reply text cannot be used: {error}");
    }
}

/// A future whose panics become an error.
struct CatchPanic<'a, F>(Pin<&'a mut F>);

impl<F: Future> Future for CatchPanic<'_, F> {
    type Output = Result<F::Output, ()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        match catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(cx))) {
            Ok(Poll::Ready(value)) => Poll::Ready(Ok(value)),
            Ok(Poll::Pending) => Poll::Pending,
            Err(_panic) => Poll::Ready(Err(())),
        }
    }
}

/// Connections out of a closure, for tests and for the accept loop.
pub struct Polled<F>(pub F);

impl<S, F> Connections for Polled<F>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: FnMut(&mut TaskContext<'_>) -> Poll<S> + Unpin,
{
    type Stream = S;

    fn poll_next(&mut self, cx: &mut TaskContext<'_>) -> Poll<S> {
        (self.0)(cx)
    }
}

/// Serves exactly one stream until it ends; for tests and fuzzing.
pub async fn serve_one<S>(stream: S, active: Arc<ArcSwap<Active>>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (ended, end) = tokio::sync::oneshot::channel::<()>();
    let mut stream = Some(Ending { stream, _ended: ended });
    let source = Polled(move |_: &mut TaskContext<'_>| stream.take().map_or(Poll::Pending, Poll::Ready));
    serve(source, active, async {
        // The sender is dropped, never used: the stream is gone.
        drop(end.await);
    })
    .await;
    // Let the task that owned the stream see its end.
    poll_fn(|_| Poll::Ready(())).await;
}

struct Ending<S> {
    stream: S,
    _ended: tokio::sync::oneshot::Sender<()>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Ending<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Ending<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
