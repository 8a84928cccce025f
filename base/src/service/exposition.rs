//! `GET /metrics` for Prometheus: a text, served to whoever asks on a listener of its own.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::accept::Acceptor;
use super::listen::Listener;
use super::stream::Stream;

/// Connections at a time; a scraper needs one.
const CONNECTIONS: usize = 16;
/// Longest request that is read.
const LONGEST_REQUEST: usize = 8 * 1024;
/// How long one request and its answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Serves what `text` gives, in the OpenMetrics format, until the task is dropped.
///
/// # Errors
/// When the listener cannot be watched.
pub async fn serve(listener: Listener, text: Arc<dyn Fn() -> String + Send + Sync>) -> std::io::Result<()> {
    let mut acceptor = Acceptor::new(vec![listener], CONNECTIONS)?;
    loop {
        let (stream, place) = acceptor.next().await;
        let text = Arc::clone(&text);
        tokio::spawn(async move {
            let _place = place;
            if tokio::time::timeout(PATIENCE, answer(stream, &*text)).await.is_err() {
                log::debug!("a client of the metrics took longer than {} s", PATIENCE.as_secs());
            }
        });
    }
}

async fn answer(mut stream: Stream, text: &(dyn Fn() -> String + Send + Sync)) {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") && !request.windows(2).any(|end| end == b"\n\n") {
        let mut piece = [0; 1024];
        match stream.read(&mut piece).await {
            Ok(0) | Err(_) => return,
            Ok(count) => request.extend_from_slice(piece.get(..count).unwrap_or_default()),
        }
        if request.len() > LONGEST_REQUEST {
            return;
        }
    }
    let reply = reply(&request, text);
    // A scraper that has gone away needs no answer.
    if stream.write_all(reply.as_bytes()).await.is_ok() {
        drop(stream.shutdown().await);
    }
}

fn reply(request: &[u8], text: &(dyn Fn() -> String + Send + Sync)) -> String {
    let line = request.split(|&byte| byte == b'\r' || byte == b'\n').next().unwrap_or_default();
    let mut words = line.split(|&byte| byte == b' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = path.split(|&byte| byte == b'?').next().unwrap_or_default();
    let (status, kind, body) = match (method, path) {
        (b"GET" | b"HEAD", b"/metrics") => {
            ("200 OK", "application/openmetrics-text; version=1.0.0; charset=utf-8", text())
        }
        (b"GET" | b"HEAD", _) => ("404 Not Found", "text/plain", "the figures are at /metrics\n".to_owned()),
        _ => ("405 Method Not Allowed", "text/plain", "GET only\n".to_owned()),
    };
    let length = body.len();
    let body = if method == b"HEAD" { String::new() } else { body };
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(request: &[u8]) -> String {
        reply(request, &|| "x 1\n# EOF\n".to_owned())
    }

    #[test]
    fn requests_and_answers() {
        assert!(ask(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").ends_with("\r\n\r\nx 1\n# EOF\n"));
        assert!(ask(b"GET /metrics?x=1 HTTP/1.0\n\n").starts_with("HTTP/1.1 200 "));
        assert!(
            ask(b"HEAD /metrics HTTP/1.1\r\n\r\n")
                .ends_with("Content-Length: 10\r\nConnection: close\r\n\r\n")
        );
        assert!(ask(b"GET / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404 "));
        assert!(ask(b"POST /metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405 "));
        assert!(ask(b"\r\n\r\n").starts_with("HTTP/1.1 405 "));
    }

    #[tokio::test]
    async fn a_scraper_is_served_and_a_flood_is_cut() {
        let address =
            super::super::listen::Address::Inet { host: Some("127.0.0.1".into()), port: 0, only_v6: false };
        let listener = super::super::listen::open(&address).unwrap();
        let Listener::Tcp(socket) = &listener else { panic!() };
        let port = socket.local_addr().unwrap().port();
        tokio::spawn(serve(listener, Arc::new(|| "up 1\n".to_owned())));
        let mut client = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        client.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").await.unwrap();
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        assert!(text.ends_with("up 1\n"), "{text}");
        let mut client = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        drop(client.write_all(&vec![b'x'; 100_000]).await);
        let mut end = Vec::new();
        drop(client.read_to_end(&mut end).await);
        assert!(end.is_empty());
    }
}
