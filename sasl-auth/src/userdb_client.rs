//! One connection on a userdb socket: bytes to the session, its look-ups to the databases, answers back.

use std::ops::ControlFlow;
use std::time::Duration;

use base::dovecot::request::{Named, Parameters};
use base::dovecot::{LONGEST_USERDB_LINE, reply};
use base::line::Lines;
use base::service::stream::{Peer, Stream};
use tokio::io::AsyncWriteExt;

use crate::active::{Active, lock};
use crate::lookup::{self, Answer};

use crate::request::{Request, described};
use crate::server::Service;
use crate::userdb_session::{Event, SocketFile, UserdbSession};

/// A client that takes nothing of its answers for so long is given up.
const LONGEST_BLOCK: Duration = Duration::from_secs(30);
/// Longest mask of LIST: matching takes the product of its length and the names'.
const LONGEST_MASK: usize = 255;
/// Answers are sent in pieces of about this size.
const PIECE: usize = 32 * 1024;
/// Lines that are held at a time; more are left in the socket.
const MOST_LINES: usize = 1_000;

/// Serves a connection to its end.
pub async fn serve(mut stream: Stream, file: Option<SocketFile>, service: Service) {
    let peer = stream.peer();
    let mut stopping = service.stopping.clone();
    tokio::select! {
        end = converse(&mut stream, file, peer, &service) => {
            if let Err(why) = end {
                service.shared.metrics.disconnect();
                log::warn!("userdb {} {why}; connection closed", describe(peer));
            }
        }
        // Whoever asks meanwhile asks again: its delivery agent defers the mail.
        _ = stopping.wait_for(|stopping| *stopping) => {}
    }
}

fn describe(peer: Option<Peer>) -> String {
    match peer {
        Some(peer) => format!("client (pid {}, uid {})", peer.pid.unwrap_or(0), peer.uid),
        None => "client (TCP)".to_owned(),
    }
}

async fn converse(
    stream: &mut Stream,
    file: Option<SocketFile>,
    peer: Option<Peer>,
    service: &Service,
) -> Result<(), String> {
    let mut session = UserdbSession::new(file, peer);
    let mut lines = Lines::new(LONGEST_USERDB_LINE);
    let mut out = Vec::new();
    let mut told = false;
    reply::userdb_greeting(std::process::id(), &mut out);
    loop {
        if !send(stream, &mut out).await? {
            return Ok(());
        }
        let mut taken: Vec<Vec<u8>> = Vec::new();
        let read = stream.read_with(|bytes| {
            if bytes.is_empty() {
                return None;
            }
            Some(lines.feed(bytes, |line| {
                taken.push(line.to_vec());
                if taken.len() > MOST_LINES { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            }))
        });
        match read.await {
            Err(_) | Ok(None) => return Ok(()),
            Ok(Some(Ok(ControlFlow::Continue(())))) => {}
            Ok(Some(Ok(ControlFlow::Break(())))) => {
                return Err(format!("sent more than {MOST_LINES} lines at once"));
            }
            Ok(Some(Err(_too_long))) => {
                return Err(format!("sent us more than {LONGEST_USERDB_LINE} bytes in a line"));
            }
        }
        for line in taken {
            let event = session.line(&line).map_err(|why| why.to_string())?;
            let active = service.active.load_full();
            match event {
                Event::Nothing => {}
                Event::User(named) => {
                    let answer = asked(&active, &named, false).await;
                    let result = session.user(named.id, &answer, &mut out);
                    service.shared.metrics.lookup("USER", result);
                }
                Event::Pass(named) => {
                    let answer = asked(&active, &named, true).await;
                    let result = UserdbSession::pass(named.id, &answer, &mut out);
                    service.shared.metrics.lookup("PASS", result);
                }
                Event::List(id, parameters) => {
                    if !list(stream, &active, service, id, parameters, &mut out).await? {
                        return Ok(());
                    }
                }
                Event::NotAllowed(id, command) => {
                    // Once is enough.
                    if !std::mem::replace(&mut told, true) {
                        log::warn!(
                            "userdb {} asked for {command}; on a socket of mode 0666 only its owner may",
                            describe(peer)
                        );
                    }
                    UserdbSession::refused(id, command, &mut out);
                    service.shared.metrics.lookup(command, "refused");
                }
                Event::CacheFlush(id) => {
                    let count = lock(&service.shared.cache).as_mut().map_or(0, crate::cache::Cache::clear);
                    UserdbSession::flushed(id, count, &mut out);
                    service.shared.metrics.lookup("CACHE-FLUSH", "found");
                }
            }
            if out.len() >= PIECE && !send(stream, &mut out).await? {
                return Ok(());
            }
        }
    }
}

/// Answers `LIST`. False when the client has gone.
async fn list(
    stream: &mut Stream,
    active: &Active,
    service: &Service,
    id: u32,
    parameters: Parameters<'_>,
    out: &mut Vec<u8>,
) -> Result<bool, String> {
    let mask = parameters.value(b"user").unwrap_or_default();
    let mask = String::from_utf8_lossy(&mask);
    if mask.len() > LONGEST_MASK {
        return Err(format!("sent a mask of more than {LONGEST_MASK} bytes"));
    }
    let mask = if mask.is_empty() { "*" } else { &*mask };
    let (users, end) = lookup::list(active, mask).await;
    if let Err(unavailable) = &end {
        log::error!("listing users: {unavailable}");
    }
    for user in users {
        UserdbSession::listed(id, &user, out);
        if out.len() >= PIECE && !send(stream, out).await? {
            return Ok(false);
        }
    }
    UserdbSession::list_done(id, end.is_ok(), out);
    service.shared.metrics.lookup("LIST", if end.is_ok() { "found" } else { "unavailable" });
    Ok(true)
}

/// Sends everything. False when the client has gone.
async fn send(stream: &mut Stream, out: &mut Vec<u8>) -> Result<bool, String> {
    let sent = tokio::time::timeout(LONGEST_BLOCK, stream.write_all(out)).await;
    out.clear();
    match sent {
        Ok(result) => Ok(result.is_ok()),
        Err(_elapsed) => Err(format!("has not read its answers for {} s", LONGEST_BLOCK.as_secs())),
    }
}

async fn asked(active: &Active, named: &Named<'_>, pass: bool) -> Answer {
    let (request, _) = described(named.parameters, "");
    let Ok(user) = std::str::from_utf8(&named.user) else { return Answer::Unknown };
    let Ok(name) = active.usernames.normalise(user) else {
        log::info!(
            "{}: the name holds characters outside username_chars",
            crate::report::subject("userdb", user, &request)
        );
        return Answer::Unknown;
    };
    let request = Request { user: name.user, original_user: user.to_owned(), ..request };
    let answer =
        if pass { lookup::pass(active, &request).await } else { lookup::user(active, &request).await };
    if let Answer::Unavailable { source, detail } = &answer {
        log::error!("{}: {detail}", crate::report::subject(source, &request.user, &request));
    }
    answer
}
