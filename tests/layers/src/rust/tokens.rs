//! Finds paths in macros and attributes, which the parser returns as tokens: names with `::`
//! between them.

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// A path, and its line.
pub(super) type Path = (Vec<String>, usize);

/// Prefixes of strings in attributes that are paths, such as serde's `with = "crate::seconds"`.
const ROOTS: [&str; 3] = ["crate::", "self::", "super::"];

/// All paths of at least two names.
pub(super) fn paths(tokens: TokenStream) -> Vec<Path> {
    let mut found = Vec::new();
    collect(tokens, &mut found);
    found
}

/// All paths, also in strings.
pub(super) fn paths_and_texts(tokens: TokenStream) -> Vec<Path> {
    let mut found = paths(tokens.clone());
    texts(tokens, &mut |text, line| {
        if ROOTS.iter().any(|root| text.starts_with(root)) {
            found.push((
                text.split("::")
                    .map(|name| name.trim().to_owned())
                    .collect(),
                line,
            ));
        }
    });
    found
}

/// Calls `call` with each string.
pub(super) fn texts(tokens: TokenStream, call: &mut impl FnMut(&str, usize)) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => texts(group.stream(), call),
            TokenTree::Literal(literal) => {
                let line = literal.span().start().line;
                if let syn::Lit::Str(text) = syn::Lit::new(literal) {
                    call(&text.value(), line);
                }
            }
            TokenTree::Ident(_) | TokenTree::Punct(_) => {}
        }
    }
}

fn collect(tokens: TokenStream, found: &mut Vec<Path>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let is = |at: usize, sign: char| matches!(tokens.get(at), Some(TokenTree::Punct(it)) if it.as_char() == sign);
    let is_step = |at: usize| is(at, ':') && is(at + 1, ':');
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token {
            TokenTree::Group(group) => collect(group.stream(), found),
            TokenTree::Ident(name) => {
                let (start, line) = (at - 1, name.span().start().line);
                let mut path = vec![super::modules::plain(name)];
                while is_step(at) {
                    match tokens.get(at + 2) {
                        Some(TokenTree::Ident(name)) => {
                            path.push(super::modules::plain(name));
                            at += 3;
                        }
                        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                            group_of(&path, group.stream(), found);
                            at += 3;
                        }
                        _ => break,
                    }
                }
                // A name after `.` is a method; a name after `>::` belongs to a type that was noted
                // before.
                let follows = start > 0
                    && (is(start - 1, '.')
                        || (start > 2 && is_step(start - 2) && is(start - 3, '>')));
                if start > 1 && is_step(start - 2) && !follows {
                    path.insert(0, String::new());
                }
                if path.len() > 1 && !follows {
                    found.push((path, line));
                }
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

/// A `use` of several names.
fn group_of(prefix: &[String], names: TokenStream, found: &mut Vec<Path>) {
    for token in names {
        if let TokenTree::Ident(name) = token {
            let line = name.span().start().line;
            found.push(([prefix, &[super::modules::plain(&name)]].concat(), line));
        }
    }
}
