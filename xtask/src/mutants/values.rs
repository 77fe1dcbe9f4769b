//! What a function may be made to answer instead of what it finds out.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{GenericArgument, PathArguments, Type};

/// Values of a type, as code; what turns out not to be one does not build, and is left out.
pub(super) fn values(kind: &Type) -> Vec<TokenStream> {
    match kind {
        Type::Tuple(tuple) if tuple.elems.is_empty() => vec![quote!(())],
        Type::Tuple(tuple) => {
            let mut all = vec![Vec::new()];
            for part in &tuple.elems {
                let parts = values(part);
                all = all
                    .iter()
                    .flat_map(|begun: &Vec<TokenStream>| {
                        parts
                            .iter()
                            .map(|part| begun.iter().cloned().chain([part.clone()]).collect())
                    })
                    .collect();
            }
            all.iter().map(|parts| quote!((#(#parts),*))).collect()
        }
        Type::Reference(reference) => match &*reference.elem {
            Type::Path(path) if path.path.is_ident("str") => vec![quote!(""), quote!("xyzzy")],
            Type::Slice(_) => vec![quote!(&mut [])],
            of => values(of)
                .iter()
                .map(|value| quote!(::std::boxed::Box::leak(::std::boxed::Box::new(#value))))
                .collect(),
        },
        Type::Path(path) => path.path.segments.last().map_or_else(Vec::new, named),
        // The function has one type that it answers, and it is what is there.
        Type::ImplTrait(_) | Type::Never(_) => Vec::new(),
        Type::Array(array) => {
            let length = &array.len;
            values(&array.elem)
                .iter()
                .map(|value| quote!([#value; #length]))
                .collect()
        }
        _ => vec![quote!(Default::default())],
    }
}

fn named(segment: &syn::PathSegment) -> Vec<TokenStream> {
    let inner = || match &segment.arguments {
        PathArguments::AngleBracketed(arguments) => arguments
            .args
            .iter()
            .find_map(|argument| {
                if let GenericArgument::Type(kind) = argument {
                    Some(values(kind))
                } else {
                    None
                }
            })
            .unwrap_or_default(),
        _ => Vec::new(),
    };
    match segment.ident.to_string().as_str() {
        "bool" => vec![quote!(true), quote!(false)],
        "u8" | "u16" | "u32" | "u64" | "u128" | "usize" => vec![quote!(0), quote!(1)],
        "i8" | "i16" | "i32" | "i64" | "i128" | "isize" => vec![quote!(0), quote!(1), quote!(-1)],
        "f32" | "f64" => vec![quote!(0.0), quote!(1.0), quote!(-1.0)],
        "String" => vec![quote!(String::new()), quote!("xyzzy".into())],
        "Option" => [quote!(None)]
            .into_iter()
            .chain(inner().iter().map(|value| quote!(Some(#value))))
            .collect(),
        "Result" => inner().iter().map(|value| quote!(Ok(#value))).collect(),
        "Vec" => [quote!(vec![])]
            .into_iter()
            .chain(inner().iter().map(|value| quote!(vec![#value])))
            .collect(),
        boxed @ ("Box" | "Rc" | "Arc") => {
            let boxed = quote::format_ident!("{boxed}");
            inner().iter().map(|value| quote!(#boxed::new(#value))).collect()
        }
        _ => vec![quote!(Default::default())],
    }
}
