//! Rewrites a source file so that it holds every change at once, each behind a switch that is off until the test program
//! is started with its number.

use std::collections::BTreeSet;

use quote::{ToTokens, quote};
use syn::spanned::Spanned as _;
use syn::visit_mut::{self, VisitMut};
use syn::{
    Attribute, BinOp, Block, Expr, ImplItemFn, ItemFn, ItemImpl, ItemMod, Signature, TraitItemFn, UnOp, parse_quote,
};

use super::values::values;

/// One change.
#[derive(Debug, Clone)]
pub(super) struct Mutant {
    /// Which switch it is.
    pub number: u32,
    /// Path from the root of the checkout.
    pub file: String,
    /// Line and column, from one.
    pub at: (usize, usize),
    /// As cargo-mutants words it: `replace == with != in Type::function`.
    pub text: String,
}

/// What is not to be changed, because it does not build.
#[derive(Debug, Default)]
pub(super) struct LeftOut {
    /// Numbers of changes.
    pub mutants: BTreeSet<u32>,
    /// Functions that must stay what a compiler can evaluate.
    pub constant: BTreeSet<String>,
}

/// Goes over one file.
pub(super) struct Alter<'a> {
    file: &'a str,
    left_out: &'a LeftOut,
    mutants: &'a mut Vec<Mutant>,
    /// The `impl` around, as names begin.
    within: Option<String>,
    function: Option<String>,
}

impl<'a> Alter<'a> {
    pub(super) fn new(file: &'a str, left_out: &'a LeftOut, mutants: &'a mut Vec<Mutant>) -> Self {
        Self {
            file,
            left_out,
            mutants,
            within: None,
            function: None,
        }
    }

    /// Notes a change; answers its number unless it is left out.
    fn note(&mut self, at: proc_macro2::Span, text: String) -> Option<u32> {
        let number = u32::try_from(self.mutants.len()).ok()?;
        let begin = at.start();
        self.mutants.push(Mutant {
            number,
            file: self.file.to_owned(),
            at: (begin.line, begin.column + 1),
            text,
        });
        (!self.left_out.mutants.contains(&number)).then_some(number)
    }

    fn inside(&self) -> &str {
        self.function.as_deref().unwrap_or("nothing")
    }

    fn function(&mut self, attributes: &[Attribute], signature: &mut Signature, block: &mut Block) {
        let name = match &self.within {
            Some(within) => format!("{within}::{}", signature.ident),
            None => signature.ident.to_string(),
        };
        let is_constant =
            signature.constness.is_some() && self.left_out.constant.contains(&signature.ident.to_string());
        if is_test(attributes) || signature.unsafety.is_some() || is_constant {
            return;
        }
        let outer = self.function.replace(name.clone());
        self.visit_block_mut(block);
        let (arrow, of) = match &signature.output {
            syn::ReturnType::Default => (String::new(), vec![quote!(())]),
            syn::ReturnType::Type(_, kind) => (format!(" -> {}", plain(kind)), values(kind)),
        };
        let is_empty = block.stmts.is_empty();
        let mut first = Vec::new();
        for value in of.into_iter().filter(|_| !is_empty) {
            let text = format!("replace {name}{arrow} with {}", plain(&value));
            if let Some(number) = self.note(signature.ident.span(), text) {
                first.push(parse_quote! { if crate::mutants::on(#number) { return #value; } });
            }
        }
        block.stmts.splice(0..0, first);
        // What asks a switch is not evaluated by the compiler, nor is what calls it.
        signature.constness = None;
        self.function = outer;
    }

    fn binary(&mut self, expr: &syn::ExprBinary) -> Option<Expr> {
        let (op, left, right) = (&expr.op, &expr.left, &expr.right);
        let mut switches = Vec::new();
        for other in others(op) {
            let text = format!("replace {} with {} in {}", plain(op), plain(&other), self.inside());
            switches.extend(self.note(op.span(), text).map(|number| (number, other)));
        }
        let (first, _) = switches.first()?;
        if matches!(op, BinOp::And(_) | BinOp::Or(_)) {
            // Either stops at the left where that says enough.
            let stops = if matches!(op, BinOp::And(_)) {
                quote!(!=)
            } else {
                quote!(==)
            };
            return Some(parse_quote! {
                ({ let __left: bool = #left; if __left #stops crate::mutants::on(#first) { #right } else { __left } })
            });
        }
        let compares = matches!(
            op,
            BinOp::Eq(_) | BinOp::Ne(_) | BinOp::Lt(_) | BinOp::Le(_) | BinOp::Gt(_) | BinOp::Ge(_)
        );
        let assigns = plain(op).ends_with('=') && !compares;
        let (ends, l, r) = match (compares, assigns) {
            (true, _) => (quote!((&(#left), &(#right))), quote!(*__left), quote!(*__right)),
            (_, true) => (quote!(((), #right)), quote!(#left), quote!(__right)),
            _ => (quote!((#left, #right)), quote!(__left), quote!(__right)),
        };
        let cases = switches
            .iter()
            .map(|(number, other)| quote! { if crate::mutants::on(#number) { #l #other #r } else });
        let named = if assigns {
            quote!(((), __right))
        } else {
            quote!((__left, __right))
        };
        Some(parse_quote! { (match #ends { #named => #(#cases)* { #l #op #r } }) })
    }

    /// Changes guards and arms; `guards` are the former as they were written, before anything in them was changed.
    fn arms(&mut self, expr: &mut syn::ExprMatch, guards: Vec<Option<Guard>>) {
        let is_wild = |arm: &syn::Arm| matches!(arm.pat, syn::Pat::Wild(_)) && arm.guard.is_none();
        let has_wild = expr.arms.iter().any(is_wild);
        for (arm, written) in expr.arms.iter_mut().zip(guards) {
            if let Some((_, guard)) = &mut arm.guard
                && let Some(Guard { at, said }) = written
                && !has_let(guard)
            {
                for value in [true, false] {
                    let text = format!("replace match guard {said} with {value} in {}", self.inside());
                    if let Some(number) = self.note(at, text) {
                        **guard = if value {
                            parse_quote! { (crate::mutants::on(#number) || #guard) }
                        } else {
                            parse_quote! { (!crate::mutants::on(#number) && #guard) }
                        };
                    }
                }
            }
            if has_wild && !is_wild(arm) && !arm.guard.as_ref().is_some_and(|(_, guard)| has_let(guard)) {
                let text = format!("delete match arm {} in {}", plain(&arm.pat), self.inside());
                if let Some(number) = self.note(arm.pat.span(), text) {
                    let guard = arm.guard.take().map(|(_, guard)| quote!(&& #guard));
                    let guarded: Expr = parse_quote! { !crate::mutants::on(#number) #guard };
                    arm.guard = Some((syn::token::If::default(), Box::new(guarded)));
                }
            }
        }
    }
}

impl VisitMut for Alter<'_> {
    fn visit_item_mod_mut(&mut self, item: &mut ItemMod) {
        if !is_test(&item.attrs) {
            visit_mut::visit_item_mod_mut(self, item);
        }
    }

    fn visit_item_impl_mut(&mut self, item: &mut ItemImpl) {
        let of = plain(&item.self_ty);
        let name = item.trait_.as_ref().map(|(_, name, _)| plain(name));
        // Wording is for people; what programs read of it is tested where it is read.
        let words = name
            .as_ref()
            .is_some_and(|name| name.ends_with("Display") || name.ends_with("Debug"));
        if is_test(&item.attrs) || words {
            return;
        }
        let within = name.map_or(of.clone(), |name| format!("<impl {name} for {of}>"));
        let outer = self.within.replace(within);
        visit_mut::visit_item_impl_mut(self, item);
        self.within = outer;
    }

    fn visit_item_fn_mut(&mut self, item: &mut ItemFn) {
        self.function(&item.attrs, &mut item.sig, &mut item.block);
    }

    fn visit_impl_item_fn_mut(&mut self, item: &mut ImplItemFn) {
        self.function(&item.attrs, &mut item.sig, &mut item.block);
    }

    fn visit_trait_item_fn_mut(&mut self, item: &mut TraitItemFn) {
        if let Some(block) = &mut item.default {
            self.function(&item.attrs, &mut item.sig, block);
        }
    }

    fn visit_expr_mut(&mut self, expr: &mut Expr) {
        let is_chain = has_let(expr);
        let guards = guards(expr);
        visit_mut::visit_expr_mut(self, expr);
        if self.function.is_none() {
            return;
        }
        match expr {
            Expr::Binary(binary) if !is_chain => {
                let binary = binary.clone();
                if let Some(switched) = self.binary(&binary) {
                    *expr = switched;
                }
            }
            Expr::Unary(unary) if matches!(unary.op, UnOp::Not(_) | UnOp::Neg(_)) => {
                let text = format!("delete {} in {}", plain(&unary.op), self.inside());
                let (op, of) = (unary.op, unary.expr.clone());
                if let Some(number) = self.note(unary.op.span(), text) {
                    // Twice is not at all, and has the same type where it is of a reference.
                    *expr = parse_quote! {
                        (match #of { __one => if crate::mutants::on(#number) { #op (#op __one) } else { #op __one } })
                    };
                }
            }
            Expr::Match(of) => self.arms(of, guards),
            _ => {}
        }
    }

    // What only the compiler evaluates has no switches.
    fn visit_item_const_mut(&mut self, _: &mut syn::ItemConst) {}
    fn visit_impl_item_const_mut(&mut self, _: &mut syn::ImplItemConst) {}
    fn visit_trait_item_const_mut(&mut self, _: &mut syn::TraitItemConst) {}
    fn visit_item_static_mut(&mut self, _: &mut syn::ItemStatic) {}
    fn visit_item_enum_mut(&mut self, _: &mut syn::ItemEnum) {}
    fn visit_expr_const_mut(&mut self, _: &mut syn::ExprConst) {}
    fn visit_type_mut(&mut self, _: &mut syn::Type) {}
    fn visit_pat_mut(&mut self, _: &mut syn::Pat) {}
    fn visit_generic_argument_mut(&mut self, _: &mut syn::GenericArgument) {}
    fn visit_attribute_mut(&mut self, _: &mut Attribute) {}
    fn visit_expr_repeat_mut(&mut self, of: &mut syn::ExprRepeat) {
        self.visit_expr_mut(&mut of.expr);
    }
}

/// Whether only tests have it.
pub(super) fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let text = attribute.to_token_stream().to_string().replace(' ', "");
        attribute.path().is_ident("test") || text.contains("cfg(test)") || text.contains("cfg(feature=\"kernel\")")
    })
}

/// A guard of an arm: where it is and what it says.
struct Guard {
    at: proc_macro2::Span,
    said: String,
}

/// The guards of a `match`, arm by arm.
fn guards(expr: &Expr) -> Vec<Option<Guard>> {
    let Expr::Match(of) = expr else {
        return Vec::new();
    };
    let guard = |arm: &syn::Arm| {
        arm.guard.as_ref().map(|(_, guard)| Guard {
            at: guard.span(),
            said: plain(guard),
        })
    };
    of.arms.iter().map(guard).collect()
}

/// Whether it binds by `let`, as links of a chain of `&&` do.
fn has_let(expr: &Expr) -> bool {
    match expr {
        Expr::Let(_) => true,
        Expr::Binary(binary) => has_let(&binary.left) || has_let(&binary.right),
        _ => false,
    }
}

/// What an operator is changed to.
fn others(op: &BinOp) -> Vec<BinOp> {
    match op {
        BinOp::Eq(_) => vec![parse_quote!(!=)],
        BinOp::Ne(_) => vec![parse_quote!(==)],
        BinOp::And(_) => vec![parse_quote!(||)],
        BinOp::Or(_) => vec![parse_quote!(&&)],
        BinOp::Lt(_) => vec![parse_quote!(==), parse_quote!(>), parse_quote!(<=)],
        BinOp::Gt(_) => vec![parse_quote!(==), parse_quote!(<), parse_quote!(>=)],
        BinOp::Le(_) => vec![parse_quote!(>)],
        BinOp::Ge(_) => vec![parse_quote!(<)],
        BinOp::Add(_) => vec![parse_quote!(-), parse_quote!(*)],
        BinOp::Sub(_) | BinOp::Mul(_) => vec![parse_quote!(+), parse_quote!(/)],
        BinOp::Div(_) => vec![parse_quote!(%), parse_quote!(*)],
        BinOp::Rem(_) => vec![parse_quote!(/), parse_quote!(+)],
        BinOp::Shl(_) => vec![parse_quote!(>>)],
        BinOp::Shr(_) => vec![parse_quote!(<<)],
        BinOp::BitAnd(_) => vec![parse_quote!(|), parse_quote!(^)],
        BinOp::BitOr(_) => vec![parse_quote!(&), parse_quote!(^)],
        BinOp::BitXor(_) => vec![parse_quote!(|), parse_quote!(&)],
        BinOp::AddAssign(_) => vec![parse_quote!(-=), parse_quote!(*=)],
        BinOp::SubAssign(_) | BinOp::MulAssign(_) => vec![parse_quote!(+=), parse_quote!(/=)],
        BinOp::DivAssign(_) => vec![parse_quote!(%=), parse_quote!(*=)],
        BinOp::RemAssign(_) => vec![parse_quote!(/=), parse_quote!(+=)],
        BinOp::ShlAssign(_) => vec![parse_quote!(>>=)],
        BinOp::ShrAssign(_) => vec![parse_quote!(<<=)],
        BinOp::BitAndAssign(_) => vec![parse_quote!(|=)],
        BinOp::BitOrAssign(_) | BinOp::BitXorAssign(_) => vec![parse_quote!(&=)],
        _ => Vec::new(),
    }
}

/// Tokens as people write them, nearly.
pub(super) fn plain(tokens: &impl ToTokens) -> String {
    let mut text = tokens.to_token_stream().to_string();
    for (spaced, tight) in [
        (" :: ", "::"),
        (":: ", "::"),
        (" ::", "::"),
        (" < ", "<"),
        (" >", ">"),
        ("< ", "<"),
        (" , ", ", "),
        ("& ", "&"),
        (" (", "("),
        ("( ", "("),
        (" )", ")"),
        ("' ", "'"),
        (" [", "["),
        ("[ ", "["),
        (" ]", "]"),
        (" !", "!"),
        ("! ", "!"),
        (" ;", ";"),
        (" . ", "."),
    ] {
        if text.len() > 3 {
            text = text.replace(spaced, tight);
        }
    }
    // Not part of a macro's name after all.
    if text.len() > 3 {
        text = text.replace("!= ", " != ");
    }
    if let Some(rest) = text.strip_prefix("* ") {
        text = format!("*{rest}");
    }
    text
}
