//! Finds test code: guarded by `cfg(test)`, alone or with other conditions.

use syn::punctuated::Punctuated;
use syn::{Attribute, ImplItem, Item, Meta, Stmt, Token, TraitItem};

/// Value of a condition in a build without tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holds {
    No,
    Yes,
    /// Depends on the platform or on a feature.
    Maybe,
}

/// True if code with these attributes exists only in tests.
pub(super) fn is_test(attributes: &[Attribute]) -> bool {
    let mut conditions = attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("cfg"));
    conditions.any(|attribute| {
        let condition = attribute.parse_args::<Meta>();
        condition.is_ok_and(|condition| holds(&condition) == Holds::No)
    })
}

fn holds(condition: &Meta) -> Holds {
    let Meta::List(list) = condition else {
        let is_test = condition.path().is_ident("test");
        return if is_test { Holds::No } else { Holds::Maybe };
    };
    let parts = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated);
    let parts: Vec<Holds> = parts.iter().flatten().map(holds).collect();
    let all = |wanted| parts.iter().all(|part| *part == wanted);
    if list.path.is_ident("not") {
        return match parts.first() {
            Some(Holds::No) => Holds::Yes,
            Some(Holds::Yes) => Holds::No,
            Some(Holds::Maybe) | None => Holds::Maybe,
        };
    }
    if list.path.is_ident("all") {
        return match parts.contains(&Holds::No) {
            true => Holds::No,
            false if all(Holds::Yes) => Holds::Yes,
            false => Holds::Maybe,
        };
    }
    match parts.contains(&Holds::Yes) {
        true => Holds::Yes,
        false if all(Holds::No) => Holds::No,
        false => Holds::Maybe,
    }
}

/// Attributes of an item.
pub(super) fn of_item(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::TraitAlias(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        // An item that the parser does not know counts as having no attributes.
        _ => &[],
    }
}

/// Attributes of a part of an `impl` block.
pub(super) fn of_impl_item(item: &ImplItem) -> &[Attribute] {
    match item {
        ImplItem::Const(item) => &item.attrs,
        ImplItem::Fn(item) => &item.attrs,
        ImplItem::Type(item) => &item.attrs,
        ImplItem::Macro(item) => &item.attrs,
        _ => &[],
    }
}

/// Attributes of a part of a trait.
pub(super) fn of_trait_item(item: &TraitItem) -> &[Attribute] {
    match item {
        TraitItem::Const(item) => &item.attrs,
        TraitItem::Fn(item) => &item.attrs,
        TraitItem::Type(item) => &item.attrs,
        TraitItem::Macro(item) => &item.attrs,
        _ => &[],
    }
}

/// Attributes of a statement.
pub(super) fn of_statement(statement: &Stmt) -> &[Attribute] {
    match statement {
        Stmt::Local(local) => &local.attrs,
        Stmt::Item(item) => of_item(item),
        Stmt::Macro(statement) => &statement.attrs,
        Stmt::Expr(expression, _) => of_expression(expression),
    }
}

/// Attributes of expressions that are statements.
fn of_expression(expression: &syn::Expr) -> &[Attribute] {
    use syn::Expr;
    match expression {
        Expr::Assign(it) => &it.attrs,
        Expr::Await(it) => &it.attrs,
        Expr::Block(it) => &it.attrs,
        Expr::Call(it) => &it.attrs,
        Expr::ForLoop(it) => &it.attrs,
        Expr::If(it) => &it.attrs,
        Expr::Loop(it) => &it.attrs,
        Expr::Macro(it) => &it.attrs,
        Expr::Match(it) => &it.attrs,
        Expr::MethodCall(it) => &it.attrs,
        Expr::Return(it) => &it.attrs,
        Expr::Try(it) => &it.attrs,
        Expr::Unsafe(it) => &it.attrs,
        Expr::While(it) => &it.attrs,
        _ => &[],
    }
}
