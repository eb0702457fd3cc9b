//! One pass over a parsed file that notes what the checks ask about.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, ImplItem, Item, Meta, Visibility};

use super::source::ModulePath;

#[derive(Default)]
pub struct Facts {
    /// The file's own module and the inline ones.
    pub modules: Vec<ModulePath>,
    /// `mod name;` lines.
    pub child_files: Vec<ChildFile>,
    /// Names of items with the module that they are in.
    pub items: Vec<(ModulePath, String)>,
    /// A type's name and the name of a method, variant or field.
    pub members: Vec<(String, String)>,
    pub imports: Vec<Import>,
    pub paths: Vec<PathUse>,
    pub functions: Vec<Function>,
    pub definitions: Vec<Definition>,
    pub public: Vec<Public>,
    /// The lines of each call of something named `sleep`.
    pub sleeps: Vec<usize>,
    /// First and last lines of what is under `#[cfg(test)]`.
    pub test_lines: Vec<(usize, usize)>,
}

pub struct ChildFile {
    pub module: ModulePath,
    /// What `#[path = "…"]` says.
    pub path: Option<String>,
    pub is_test: bool,
}

/// A name that `use` brings into a module; `*` for all of them.
pub struct Import {
    pub module: ModulePath,
    pub name: String,
    pub path: Vec<String>,
}

/// A path as it is written: `["super", "table", "Table"]`.
pub struct PathUse {
    pub line: usize,
    pub module: ModulePath,
    pub path: Vec<String>,
    pub is_test: bool,
}

pub struct Function {
    pub name: String,
    pub line: usize,
    /// From the line of `fn` to that of the closing brace.
    pub lines: usize,
    /// How many blocks are inside each other at the deepest place, the function's own left out.
    pub nesting: usize,
    pub is_test: bool,
}

/// An identifier where it is defined.
pub struct Definition {
    pub line: usize,
    pub name: String,
    pub is_test: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Type,
    Field,
    Other,
}

/// An item or field outside tests with `pub` of any reach.
pub struct Public {
    /// Whether it is `pub` alone, without a module in brackets.
    pub is_full: bool,
    pub kind: Kind,
    pub name: String,
    pub line: usize,
    pub is_documented: bool,
}

/// What a file of this module says.
pub fn facts(file: &syn::File, module: &[String], is_test: bool) -> Facts {
    let mut visitor = Visitor { facts: Facts::default(), module: module.to_vec(), is_test, owner: None, depth: 0 };
    visitor.facts.modules.push(module.to_vec());
    visitor.visit_file(file);
    visitor.facts
}

struct Visitor {
    facts: Facts,
    module: ModulePath,
    is_test: bool,
    /// The type whose `impl` or definition is being read.
    owner: Option<String>,
    /// How many functions are around: items inside one are not the module's.
    depth: usize,
}

impl Visitor {
    fn define(&mut self, ident: &syn::Ident) {
        let line = ident.span().start().line;
        self.facts.definitions.push(Definition { line, name: ident.to_string(), is_test: self.is_test });
    }

    fn item(&mut self, ident: &syn::Ident) {
        self.define(ident);
        if self.depth == 0 {
            self.facts.items.push((self.module.clone(), ident.to_string()));
        }
    }

    fn member(&mut self, ident: &syn::Ident) {
        self.define(ident);
        if let Some(owner) = &self.owner {
            self.facts.members.push((owner.clone(), ident.to_string()));
        }
    }

    fn public(&mut self, kind: Kind, vis: &Visibility, ident: &syn::Ident, attributes: &[Attribute]) {
        if !matches!(vis, Visibility::Inherited) && !self.is_test {
            let is_full = matches!(vis, Visibility::Public(_));
            let is_documented = attributes.iter().any(|attribute| attribute.path().is_ident("doc"));
            let line = ident.span().start().line;
            self.facts.public.push(Public { is_full, kind, name: ident.to_string(), line, is_documented });
        }
    }

    fn path(&mut self, line: usize, path: Vec<String>) {
        self.facts.paths.push(PathUse { line, module: self.module.clone(), path, is_test: self.is_test });
    }

    fn function(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let line = signature.fn_token.span.start().line;
        let lines = block.brace_token.span.close().end().line + 1 - line;
        let mut nesting = Nesting::default();
        nesting.visit_block(block);
        let name = signature.ident.to_string();
        self.facts.functions.push(Function { name, line, lines, nesting: nesting.deepest, is_test: self.is_test });
    }

    /// Does `body` as part of a test if the attributes say so.
    fn with_attributes(&mut self, attributes: &[Attribute], span: proc_macro2::Span, body: impl FnOnce(&mut Self)) {
        let was_test = self.is_test;
        if attributes.iter().any(is_for_tests) {
            self.is_test = true;
            self.facts.test_lines.push((span.start().line, span.end().line));
        }
        body(self);
        self.is_test = was_test;
    }

    fn owned_by(&mut self, owner: Option<String>, body: impl FnOnce(&mut Self)) {
        let before = std::mem::replace(&mut self.owner, owner);
        body(self);
        self.owner = before;
    }

    /// The paths in what a macro is given, which is no syntax tree.
    fn tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            at += 1;
            match token {
                TokenTree::Group(group) => self.tokens(group.stream()),
                TokenTree::Ident(first) => {
                    let mut path = vec![first.to_string()];
                    while is_colon(tokens.get(at))
                        && is_colon(tokens.get(at + 1))
                        && let Some(TokenTree::Ident(next)) = tokens.get(at + 2)
                    {
                        path.push(next.to_string());
                        at += 3;
                    }
                    let line = first.span().start().line;
                    if path.last().is_some_and(|last| last == "sleep") && is_call(tokens.get(at)) {
                        self.facts.sleeps.push(line);
                    }
                    if path.len() > 1 {
                        self.path(line, path);
                    }
                }
                // `with = "crate::…"`, as serde's attributes have it.
                TokenTree::Literal(literal) => {
                    let text = literal.to_string();
                    if let Some(path) = text.strip_prefix("\"crate::") {
                        let path = format!("crate::{}", path.trim_end_matches('"'));
                        self.path(literal.span().start().line, path.split("::").map(str::to_owned).collect());
                    }
                }
                TokenTree::Punct(_) => {}
            }
        }
    }

    fn use_tree(&mut self, line: usize, before: &[String], tree: &syn::UseTree) {
        let mut path = before.to_vec();
        match tree {
            syn::UseTree::Path(inner) => {
                path.push(inner.ident.to_string());
                self.use_tree(line, &path, &inner.tree);
            }
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.use_tree(tree.span().start().line, before, tree);
                }
            }
            syn::UseTree::Glob(_) => self.import(line, "*".to_owned(), path),
            syn::UseTree::Name(name) if name.ident == "self" => {
                let name = before.last().cloned().unwrap_or_default();
                self.import(line, name, path);
            }
            syn::UseTree::Name(name) => {
                path.push(name.ident.to_string());
                self.import(line, name.ident.to_string(), path);
            }
            syn::UseTree::Rename(renamed) => {
                path.push(renamed.ident.to_string());
                self.import(line, renamed.rename.to_string(), path);
            }
        }
    }

    fn import(&mut self, line: usize, name: String, path: Vec<String>) {
        if !self.is_test && self.depth == 0 {
            self.facts.imports.push(Import { module: self.module.clone(), name, path: path.clone() });
        }
        self.path(line, path);
    }
}

impl<'a> Visit<'a> for Visitor {
    fn visit_item(&mut self, item: &'a Item) {
        let attributes = attributes(item);
        self.with_attributes(attributes, item.span(), |this| {
            match item {
                Item::Struct(item) => this.public(Kind::Type, &item.vis, &item.ident, attributes),
                Item::Enum(item) => this.public(Kind::Type, &item.vis, &item.ident, attributes),
                Item::Trait(item) => this.public(Kind::Type, &item.vis, &item.ident, attributes),
                Item::Type(item) => this.public(Kind::Type, &item.vis, &item.ident, attributes),
                Item::Fn(item) => this.public(Kind::Other, &item.vis, &item.sig.ident, attributes),
                Item::Const(item) => this.public(Kind::Other, &item.vis, &item.ident, attributes),
                Item::Static(item) => this.public(Kind::Other, &item.vis, &item.ident, attributes),
                _ => {}
            }
            visit::visit_item(this, item);
        });
    }

    fn visit_impl_item(&mut self, item: &'a ImplItem) {
        let attributes = match item {
            ImplItem::Fn(item) => {
                self.public(Kind::Other, &item.vis, &item.sig.ident, &item.attrs);
                item.attrs.as_slice()
            }
            ImplItem::Const(item) => {
                self.public(Kind::Other, &item.vis, &item.ident, &item.attrs);
                item.attrs.as_slice()
            }
            ImplItem::Type(item) => item.attrs.as_slice(),
            _ => &[],
        };
        self.with_attributes(attributes, item.span(), |this| visit::visit_impl_item(this, item));
    }

    fn visit_item_mod(&mut self, item: &'a syn::ItemMod) {
        self.item(&item.ident);
        self.module.push(item.ident.to_string());
        if item.content.is_some() {
            self.facts.modules.push(self.module.clone());
            visit::visit_item_mod(self, item);
        } else {
            let path = item.attrs.iter().find_map(named_path);
            self.facts.child_files.push(ChildFile { module: self.module.clone(), path, is_test: self.is_test });
        }
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &'a syn::ItemUse) {
        self.use_tree(item.use_token.span.start().line, &[], &item.tree);
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        let segments = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.path(path.span().start().line, segments);
        visit::visit_path(self, path);
    }

    /// `pub(super)` is a path, but no use of the module.
    fn visit_vis_restricted(&mut self, _: &'a syn::VisRestricted) {}

    fn visit_macro(&mut self, item: &'a syn::Macro) {
        self.visit_path(&item.path);
        self.tokens(item.tokens.clone());
    }

    fn visit_meta_list(&mut self, list: &'a syn::MetaList) {
        self.tokens(list.tokens.clone());
    }

    fn visit_item_macro(&mut self, item: &'a syn::ItemMacro) {
        if let Some(ident) = &item.ident {
            self.item(ident);
        }
        visit::visit_item_macro(self, item);
    }

    fn visit_item_fn(&mut self, item: &'a syn::ItemFn) {
        self.item(&item.sig.ident);
        self.function(&item.sig, &item.block);
        self.depth += 1;
        visit::visit_item_fn(self, item);
        self.depth -= 1;
    }

    fn visit_impl_item_fn(&mut self, item: &'a syn::ImplItemFn) {
        self.member(&item.sig.ident);
        self.function(&item.sig, &item.block);
        self.depth += 1;
        visit::visit_impl_item_fn(self, item);
        self.depth -= 1;
    }

    fn visit_trait_item_fn(&mut self, item: &'a syn::TraitItemFn) {
        self.member(&item.sig.ident);
        if let Some(block) = &item.default {
            self.function(&item.sig, block);
        }
        self.depth += 1;
        visit::visit_trait_item_fn(self, item);
        self.depth -= 1;
    }

    fn visit_impl_item_const(&mut self, item: &'a syn::ImplItemConst) {
        self.member(&item.ident);
        visit::visit_impl_item_const(self, item);
    }

    fn visit_item_impl(&mut self, item: &'a syn::ItemImpl) {
        let owner = match item.self_ty.as_ref() {
            syn::Type::Path(path) => path.path.segments.last().map(|segment| segment.ident.to_string()),
            _ => None,
        };
        self.owned_by(owner, |this| visit::visit_item_impl(this, item));
    }

    fn visit_item_struct(&mut self, item: &'a syn::ItemStruct) {
        self.item(&item.ident);
        self.owned_by(Some(item.ident.to_string()), |this| visit::visit_item_struct(this, item));
    }

    fn visit_item_enum(&mut self, item: &'a syn::ItemEnum) {
        self.item(&item.ident);
        self.owned_by(Some(item.ident.to_string()), |this| visit::visit_item_enum(this, item));
    }

    fn visit_item_trait(&mut self, item: &'a syn::ItemTrait) {
        self.item(&item.ident);
        self.owned_by(Some(item.ident.to_string()), |this| visit::visit_item_trait(this, item));
    }

    fn visit_item_type(&mut self, item: &'a syn::ItemType) {
        self.item(&item.ident);
        visit::visit_item_type(self, item);
    }

    fn visit_item_const(&mut self, item: &'a syn::ItemConst) {
        self.item(&item.ident);
        visit::visit_item_const(self, item);
    }

    fn visit_item_static(&mut self, item: &'a syn::ItemStatic) {
        self.item(&item.ident);
        visit::visit_item_static(self, item);
    }

    fn visit_variant(&mut self, variant: &'a syn::Variant) {
        self.member(&variant.ident);
        visit::visit_variant(self, variant);
    }

    fn visit_field(&mut self, field: &'a syn::Field) {
        if let Some(ident) = &field.ident {
            self.member(ident);
            self.public(Kind::Field, &field.vis, ident, &field.attrs);
        }
        visit::visit_field(self, field);
    }

    fn visit_pat_ident(&mut self, pattern: &'a syn::PatIdent) {
        // A pattern of one upper-case word is a variant or a constant, defined elsewhere.
        if !pattern.ident.to_string().starts_with(char::is_uppercase) {
            self.define(&pattern.ident);
        }
        visit::visit_pat_ident(self, pattern);
    }

    fn visit_expr_call(&mut self, call: &'a syn::ExprCall) {
        if let syn::Expr::Path(called) = call.func.as_ref()
            && let Some(last) = called.path.segments.last()
            && last.ident == "sleep"
        {
            self.facts.sleeps.push(last.ident.span().start().line);
        }
        visit::visit_expr_call(self, call);
    }

    fn visit_expr_method_call(&mut self, call: &'a syn::ExprMethodCall) {
        if call.method == "sleep" {
            self.facts.sleeps.push(call.method.span().start().line);
        }
        visit::visit_expr_method_call(self, call);
    }
}

/// How deep the blocks of a function are inside each other. An `else if` is as deep as its `if`; a function inside the
/// function is counted on its own.
#[derive(Default)]
struct Nesting {
    depth: usize,
    deepest: usize,
}

impl Nesting {
    fn enter(&mut self, body: impl FnOnce(&mut Self)) {
        self.depth += 1;
        self.deepest = self.deepest.max(self.depth);
        body(self);
        self.depth -= 1;
    }
}

impl<'a> Visit<'a> for Nesting {
    fn visit_item(&mut self, _: &'a Item) {}

    fn visit_expr_if(&mut self, item: &'a syn::ExprIf) {
        self.visit_expr(&item.cond);
        self.enter(|this| this.visit_block(&item.then_branch));
        if let Some((_, other)) = &item.else_branch {
            self.visit_expr(other);
        }
    }

    fn visit_expr_block(&mut self, item: &'a syn::ExprBlock) {
        self.enter(|this| this.visit_block(&item.block));
    }

    fn visit_expr_unsafe(&mut self, item: &'a syn::ExprUnsafe) {
        self.enter(|this| this.visit_block(&item.block));
    }

    fn visit_expr_async(&mut self, item: &'a syn::ExprAsync) {
        self.enter(|this| this.visit_block(&item.block));
    }

    fn visit_expr_loop(&mut self, item: &'a syn::ExprLoop) {
        self.enter(|this| this.visit_block(&item.body));
    }

    fn visit_expr_while(&mut self, item: &'a syn::ExprWhile) {
        self.visit_expr(&item.cond);
        self.enter(|this| this.visit_block(&item.body));
    }

    fn visit_expr_for_loop(&mut self, item: &'a syn::ExprForLoop) {
        self.visit_expr(&item.expr);
        self.enter(|this| this.visit_block(&item.body));
    }

    fn visit_arm(&mut self, arm: &'a syn::Arm) {
        if let Some((_, guard)) = &arm.guard {
            self.visit_expr(guard);
        }
        self.enter(|this| match arm.body.as_ref() {
            syn::Expr::Block(body) => this.visit_block(&body.block),
            body => this.visit_expr(body),
        });
    }

    fn visit_macro(&mut self, item: &'a syn::Macro) {
        // Of the macros that are used here only this one holds statements.
        if item.path.segments.last().is_some_and(|last| last.ident == "select") {
            for token in item.tokens.clone() {
                if let TokenTree::Group(group) = &token
                    && group.delimiter() == Delimiter::Brace
                    && let Ok(block) = syn::parse2::<syn::Block>(token.clone().into())
                {
                    let mut inside = Self { depth: self.depth + 1, deepest: self.deepest.max(self.depth + 1) };
                    inside.visit_block(&block);
                    self.deepest = inside.deepest;
                }
            }
        }
    }
}

fn is_colon(token: Option<&TokenTree>) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == ':')
}

fn is_call(token: Option<&TokenTree>) -> bool {
    matches!(token, Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Parenthesis)
}

/// `#[test]`, `#[tokio::test]`, `#[cfg(test)]` and `#[cfg(all(test, …))]`, but not `#[cfg(any(test, …))]`.
fn is_for_tests(attribute: &Attribute) -> bool {
    if attribute.path().segments.last().is_some_and(|last| last.ident == "test") {
        return true;
    }
    let Meta::List(list) = &attribute.meta else { return false };
    let condition = list.tokens.to_string();
    let words = condition.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
    list.path.is_ident("cfg")
        && (condition == "test" || condition.starts_with("all") && words.into_iter().any(|word| word == "test"))
        && !condition.contains("not")
}

/// The file in `#[path = "…"]`.
fn named_path(attribute: &Attribute) -> Option<String> {
    let Meta::NameValue(pair) = &attribute.meta else { return None };
    let syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(path), .. }) = &pair.value else { return None };
    pair.path.is_ident("path").then(|| path.value())
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}
