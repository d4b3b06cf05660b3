//! A request to the broker that has a data folder.

use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::failure::Failure;
use crate::http::sockets;

/// How long the broker may take to answer: longer than it takes to give up on another node.
const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes of the longest answer.
const ANSWER_MAX: u64 = 256 << 20;

/// The broker that has a data folder.
pub(super) struct Broker<'a> {
    data_dir: &'a Path,
}

impl<'a> Broker<'a> {
    pub(super) fn of(data_dir: &'a Path) -> Self {
        Self { data_dir }
    }

    /// Gets what is at a path, as JSON.
    pub(super) fn get(&self, path: &str) -> Result<Value, Failure> {
        let body = self.request("GET", path, "")?;
        serde_json::from_str(&body)
            .map_err(|error| Failure::new(format!("the broker's answer is no JSON: {error}")))
    }

    /// Gets what is at a path, as text.
    pub(super) fn text(&self, path: &str) -> Result<String, Failure> {
        self.request("GET", path, "")
    }

    /// Does something; the answer's body.
    pub(super) fn request(&self, method: &str, path: &str, body: &str) -> Result<String, Failure> {
        let answer = self.exchange(method, path, body);
        let answer = answer.map_err(|error| self.explain(&error))?;
        let (status, body) = read(&answer)
            .ok_or_else(|| Failure::new("the broker's answer is cut short or no HTTP"))?;
        if (200..300).contains(&status) {
            return Ok(body.to_owned());
        }
        let said: Value = serde_json::from_str(body).unwrap_or_default();
        let message = said["message"].as_str().unwrap_or(body);
        Err(Failure::new(format!("the broker says: {message}")))
    }

    fn exchange(&self, method: &str, path: &str, body: &str) -> io::Result<String> {
        let mut stream = sockets::connect(self.data_dir)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let request = format!(
            "{method} /api/v5{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.take(ANSWER_MAX).read_to_string(&mut answer)?;
        Ok(answer)
    }

    fn explain(&self, error: &io::Error) -> Failure {
        let folder = self.data_dir.display();
        match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused | ErrorKind::NotADirectory => {
                Failure::new(format!("no broker runs with the data folder {folder}"))
                    .advise("Name the folder of the broker: --data-dir FOLDER")
            }
            ErrorKind::PermissionDenied => Failure::new(format!(
                "no permission for the broker with the data folder {folder}"
            ))
            .advise("Only the user that runs the broker may do this, and root"),
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                Failure::new("the broker does not answer")
            }
            _ => Failure::new(format!("the broker cannot be asked: {error}")),
        }
    }
}

/// The status and the body of an answer.
fn read(answer: &str) -> Option<(u16, &str)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.1 ")?.get(..3)?;
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse::<usize>().ok())?
    });
    let is_whole = length.unwrap_or(0) == body.len();
    is_whole.then_some((status.parse().ok()?, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_cut_short_is_none() {
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX: y\r\n\r\nabc";
        assert_eq!(read(answer), Some((200, "abc")));
        for end in 0..answer.len() {
            assert_eq!(read(&answer[..end]), None, "{end}");
        }
        assert_eq!(read("HTTP/1.1 204 No Content\r\n\r\n"), Some((204, "")));
        assert_eq!(read("garbage\r\n\r\n"), None);
    }
}
