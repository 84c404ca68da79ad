//! Files written like Kafka's `server.properties` (`java.util.Properties`): `key=value`, comments, lines that go on.

/// A line that is no setting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} is not KEY=VALUE: {found:?}")]
pub(crate) struct NoSetting {
    /// From 1.
    pub(crate) line: usize,
    /// The line.
    pub(crate) found: String,
}

/// The settings of a file, in order; of a key that comes twice the later counts, as in Java.
pub(crate) fn parse(text: &str) -> Result<Vec<(String, String)>, NoSetting> {
    let mut settings = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((at, first)) = lines.next() {
        let mut logical = first.trim_start().to_owned();
        if logical.is_empty() || logical.starts_with(['#', '!']) {
            continue;
        }
        while goes_on(&logical) {
            logical.pop();
            let Some((_, next)) = lines.next() else { break };
            logical.push_str(next.trim_start());
        }
        let Some((key, value)) = split(&logical) else {
            return Err(NoSetting { line: at + 1, found: first.to_owned() });
        };
        settings.push((key, value));
    }
    Ok(settings)
}

/// A line ending in an odd number of backslashes is continued on the next.
fn goes_on(line: &str) -> bool {
    line.chars().rev().take_while(|c| *c == '\\').count() % 2 == 1
}

fn split(line: &str) -> Option<(String, String)> {
    let mut escaped = false;
    let end = line.find(|c: char| {
        let ends = !escaped && (c == '=' || c == ':' || c.is_ascii_whitespace());
        escaped = c == '\\' && !escaped;
        ends
    })?;
    let (key, rest) = line.split_at(end);
    let rest = rest.trim_start();
    let value = rest.strip_prefix(['=', ':']).unwrap_or(rest).trim();
    let key = unescape(key);
    (!key.is_empty()).then(|| (key, unescape(value)))
}

fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        match chars.next() {
            Some('t') => plain.push('\t'),
            Some('n') => plain.push('\n'),
            Some('r') => plain.push('\r'),
            Some(other) => plain.push(other),
            None => {}
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_java_reads_them() {
        let text = "# comment\n\n a = b \nc:d\nlong=one,\\\n   two\n! another\npath=C\\:\\\\x\nempty=\nspaced value here\n";
        let expected = [
            ("a", "b"),
            ("c", "d"),
            ("long", "one,two"),
            ("path", "C:\\x"),
            ("empty", ""),
            ("spaced", "value here"),
        ];
        let found = parse(text).unwrap();
        let found: Vec<_> = found.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_line_without_a_value_is_named() {
        let refused = parse("a=1\nnonsense\n").unwrap_err();
        assert_eq!(refused, NoSetting { line: 2, found: "nonsense".to_owned() });
    }
}
