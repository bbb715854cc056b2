use std::io::{BufRead, ErrorKind};

use anyhow::{Context, Result, bail};

/// An answer, as it was on the wire. Header names are in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// In the order they came.
    pub headers: Vec<(String, String)>,
    /// Without transfer coding.
    pub body: Vec<u8>,
}

impl Response {
    /// The first header of that name (in lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// The body as text, for messages and searches.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// With the body, when it is something else.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("not JSON ({}): {}", self.status, self.text()))
    }

    /// Fails with the body unless the status is as said.
    ///
    /// # Errors
    /// When it is another one.
    pub fn expect(self, status: u16) -> Result<Self> {
        if self.status != status {
            bail!("status {} and not {status}: {}", self.status, self.text());
        }
        Ok(self)
    }
}

/// Reads one final answer; interim ones (1xx) are left out.
pub(crate) fn read_response(stream: &mut impl BufRead, head_request: bool) -> Result<Response> {
    loop {
        let (status, headers) = read_head(stream)?;
        if (100..200).contains(&status) && status != 101 {
            continue;
        }
        let mut response = Response { status, headers, body: Vec::new() };
        if !head_request && status != 204 && status != 304 && status != 101 {
            response.body = read_body(stream, &response)?;
        }
        return Ok(response);
    }
}

/// Reads a status line and headers.
pub(crate) fn read_head(stream: &mut impl BufRead) -> Result<(u16, Vec<(String, String)>)> {
    let line = read_line(stream)?;
    let mut words = line.split(' ');
    let version = words.next().unwrap_or_default();
    if !version.starts_with("HTTP/1.") {
        bail!("not a status line: {line:?}");
    }
    let status = words.next().unwrap_or_default().parse().with_context(|| format!("status line {line:?}"))?;
    let mut headers = Vec::new();
    loop {
        let line = read_line(stream)?;
        if line.is_empty() {
            return Ok((status, headers));
        }
        let (name, value) = line.split_once(':').with_context(|| format!("header line {line:?}"))?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

/// Reads one chunk of a chunked body; `None` is the end, trailers read.
pub(crate) fn read_chunk(stream: &mut impl BufRead) -> Result<Option<Vec<u8>>> {
    let line = read_line(stream)?;
    let size = usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16)
        .with_context(|| format!("chunk size {line:?}"))?;
    if size == 0 {
        while !read_line(stream)?.is_empty() {}
        return Ok(None);
    }
    let mut chunk = vec![0; size];
    stream.read_exact(&mut chunk)?;
    if !read_line(stream)?.is_empty() {
        bail!("a chunk does not end where it says");
    }
    Ok(Some(chunk))
}

fn read_body(stream: &mut impl BufRead, response: &Response) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    if response.header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        while let Some(chunk) = read_chunk(stream)? {
            body.extend_from_slice(&chunk);
        }
    } else if let Some(length) = response.header("content-length") {
        body.resize(length.parse().with_context(|| format!("content-length {length:?}"))?, 0);
        stream.read_exact(&mut body)?;
    } else {
        match stream.read_to_end(&mut body) {
            Err(error) if error.kind() != ErrorKind::UnexpectedEof => return Err(error.into()),
            _ => {}
        }
    }
    Ok(body)
}

fn read_line(stream: &mut impl BufRead) -> Result<String> {
    let mut line = Vec::new();
    stream.read_until(b'\n', &mut line)?;
    if line.pop() != Some(b'\n') {
        bail!("the connection ended inside a line: {:?}", String::from_utf8_lossy(&line));
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}
