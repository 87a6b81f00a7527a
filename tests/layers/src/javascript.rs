//! Imports of ES modules: every statement and call with a relative path. Absolute paths are URLs of
//! a running server, and bare names are packages. Comments and strings are skipped.

use crate::import::Imports;
use crate::sources::{Sources, folder_of, is_javascript, join};

/// Words after which `/` starts a regular expression.
const BEFORE_EXPRESSIONS: [&str; 12] = [
    "return", "typeof", "case", "in", "of", "do", "else", "void", "delete", "throw", "await",
    "yield",
];

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Sign(char),
    /// A string in quotes.
    Text(String),
    /// A number, a template or a regular expression.
    Value,
}

/// Adds the imports of all ES modules. Returns the files that were read.
pub(crate) fn read(sources: &Sources, imports: &mut Imports) -> Vec<String> {
    let files = sources.paths().filter(|path| is_javascript(path));
    let files = files.map(|file| {
        let text = sources
            .text(file)
            .expect("a path of the sources has a text");
        for (line, path, names) in imported(&tokens(text)) {
            if !path.starts_with('.') {
                continue;
            }
            let to = join(folder_of(file), &path);
            if sources.text(&to).is_some() {
                names
                    .iter()
                    .for_each(|name| imports.add(file, line, &to, name));
            }
        }
        file.to_owned()
    });
    files.collect()
}

/// Line, path and names of each import.
fn imported(tokens: &[(Token, usize)]) -> Vec<(usize, String, Vec<String>)> {
    let mut found = Vec::new();
    let sign =
        |at: usize, sign: char| matches!(tokens.get(at), Some((Token::Sign(it), _)) if *it == sign);
    let text = |at: usize| match tokens.get(at) {
        Some((Token::Text(text), _)) => Some(text.clone()),
        _ => None,
    };
    for (at, (token, line)) in tokens.iter().enumerate() {
        let Token::Word(word) = token else {
            continue;
        };
        // A property access.
        if at > 0 && sign(at - 1, '.') {
            continue;
        }
        let whole = vec!["the module".to_owned()];
        match word.as_str() {
            "import" if sign(at + 1, '(') => {
                found.extend(text(at + 2).map(|path| (*line, path, whole)))
            }
            "import" if text(at + 1).is_some() => {
                found.extend(text(at + 1).map(|path| (*line, path, whole)));
            }
            // `export` without `from` exports names of the file itself; it ends before the next
            // statement.
            "import" | "export" if !sign(at + 1, '.') => {
                let of = if word == "import" || sign(at + 1, '{') || sign(at + 1, '*') {
                    at + 1
                } else {
                    continue;
                };
                found.extend(clause(&tokens[of..]).map(|(path, names)| (*line, path, names)));
            }
            _ => {}
        }
    }
    found
}

/// Parses `a, { b as c }, * as d from 'path'`: the path, and the names as the file at the path
/// exports them.
fn clause(tokens: &[(Token, usize)]) -> Option<(String, Vec<String>)> {
    let mut names: Vec<String> = Vec::new();
    let mut is_alias = false;
    for (at, (token, _)) in tokens.iter().enumerate() {
        match token {
            Token::Word(word) if word == "from" => {
                if let Some((Token::Text(path), _)) = tokens.get(at + 1) {
                    return Some((path.clone(), names));
                }
                names.push(word.clone());
            }
            Token::Word(word) if word == "as" => is_alias = true,
            Token::Word(_) if is_alias => is_alias = false,
            Token::Word(word) => names.push(word.clone()),
            Token::Sign('*') => names.push("all".to_owned()),
            Token::Sign('{' | '}' | ',') => {}
            Token::Sign(_) | Token::Text(_) | Token::Value => return None,
        }
    }
    None
}

/// The tokens with their lines.
fn tokens(text: &str) -> Vec<(Token, usize)> {
    let mut lexer = Lexer {
        rest: text.chars().collect(),
        at: 0,
        line: 1,
        tokens: Vec::new(),
    };
    lexer.read(false);
    lexer.tokens
}

struct Lexer {
    rest: Vec<char>,
    at: usize,
    line: usize,
    tokens: Vec<(Token, usize)>,
}

impl Lexer {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.rest.get(self.at + ahead).copied()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek(0)?;
        self.at += 1;
        self.line += usize::from(next == '\n');
        Some(next)
    }

    /// Reads to the end, or to the `}` that ends an expression in a template.
    fn read(&mut self, in_template: bool) {
        let mut depth = 0_usize;
        while let Some(sign) = self.next() {
            let line = self.line;
            match sign {
                '}' if in_template && depth == 0 => return,
                '/' if self.peek(0) == Some('/') => {
                    while self.peek(0).is_some_and(|it| it != '\n') {
                        self.next();
                    }
                }
                '/' if self.peek(0) == Some('*') => {
                    self.next();
                    while self
                        .next()
                        .is_some_and(|it| it != '*' || self.peek(0) != Some('/'))
                    {
                    }
                    self.next();
                }
                '/' if self.expects_expression() => self.regular_expression(),
                '\'' | '"' => {
                    let text = self.quoted(sign);
                    self.tokens.push((Token::Text(text), line));
                }
                '`' => self.template(),
                sign if sign.is_whitespace() => {}
                sign if is_of_word(sign) => self.word(sign),
                sign => {
                    match sign {
                        '{' => depth += 1,
                        '}' => depth = depth.saturating_sub(1),
                        _ => {}
                    }
                    self.tokens.push((Token::Sign(sign), line));
                }
            }
        }
    }

    /// True if `/` starts a regular expression here; false if it divides.
    fn expects_expression(&self) -> bool {
        match self.tokens.last() {
            None => true,
            Some((Token::Sign(sign), _)) => !matches!(sign, ')' | ']'),
            Some((Token::Word(word), _)) => BEFORE_EXPRESSIONS.contains(&word.as_str()),
            Some((Token::Text(_) | Token::Value, _)) => false,
        }
    }

    fn regular_expression(&mut self) {
        let mut is_in_class = false;
        while let Some(sign) = self.next() {
            match sign {
                '\\' => drop(self.next()),
                '[' => is_in_class = true,
                ']' => is_in_class = false,
                '/' if !is_in_class => break,
                '\n' => break,
                _ => {}
            }
        }
        self.tokens.push((Token::Value, self.line));
    }

    fn quoted(&mut self, end: char) -> String {
        let mut text = String::new();
        while let Some(sign) = self.next() {
            match sign {
                '\\' => text.extend(self.next()),
                sign if sign == end || sign == '\n' => break,
                sign => text.push(sign),
            }
        }
        text
    }

    fn template(&mut self) {
        while let Some(sign) = self.next() {
            match sign {
                '\\' => drop(self.next()),
                '`' => break,
                '$' if self.peek(0) == Some('{') => {
                    self.next();
                    self.tokens.push((Token::Sign('('), self.line));
                    self.read(true);
                    self.tokens.push((Token::Sign(')'), self.line));
                }
                _ => {}
            }
        }
        self.tokens.push((Token::Value, self.line));
    }

    fn word(&mut self, first: char) {
        let mut word = String::from(first);
        while self.peek(0).is_some_and(is_of_word) {
            word.extend(self.next());
        }
        let is_number = first.is_ascii_digit();
        self.tokens.push((
            if is_number {
                Token::Value
            } else {
                Token::Word(word)
            },
            self.line,
        ));
    }
}

fn is_of_word(sign: char) -> bool {
    sign.is_alphanumeric() || sign == '_' || sign == '$'
}
