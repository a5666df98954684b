//! What a function returns, as far as its signature shows.

use syn::punctuated::Punctuated;
use syn::visit_mut::{self, VisitMut};
use syn::{
    AngleBracketedGenericArguments, GenericArgument, PathArguments, PathSegment, ReturnType, Token, Type, TypeInfer,
    TypeParamBound,
};

/// How long a call lasts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Until the function returns.
    Value,
    /// Until the future that it returns is done.
    Future,
    /// Until the stream that it returns has no more items.
    Stream,
    /// Until the iterator that it returns has no more items.
    Iterator,
}

/// What a function returns.
pub(crate) struct Returns {
    pub(crate) kind: Kind,
    /// Whether it must be returned in a box again.
    pub(crate) is_boxed: bool,
    /// The type of the future's output or of the items; `_` if it is not written.
    pub(crate) gives: Type,
    /// Whether its name ends in `Result`.
    pub(crate) is_result: bool,
    /// The type, with `_` for types without a name.
    pub(crate) named: Type,
}

impl Returns {
    pub(crate) fn of(output: &ReturnType, stated: Option<Kind>) -> Self {
        let written = match output {
            ReturnType::Type(_, written) => bare(written).clone(),
            ReturnType::Default => Type::Tuple(syn::parse_quote!(())),
        };
        let found = found(&written);
        let (kind, gives) = match (stated, found) {
            (Some(stated), Some((kind, gives))) if stated == kind => (kind, gives),
            (Some(stated), _) => (stated, None),
            (None, Some(found)) => found,
            (None, None) => (Kind::Value, None),
        };
        Self {
            kind,
            is_boxed: !matches!(written, Type::ImplTrait(_)),
            gives: gives.map_or_else(infer, named),
            is_result: last(&written).is_some_and(|segment| segment.ident.to_string().ends_with("Result")),
            named: named(written),
        }
    }

    pub(crate) fn is_unit(&self) -> bool {
        matches!(&self.named, Type::Tuple(tuple) if tuple.elems.is_empty())
    }

    pub(crate) fn is_never(&self) -> bool {
        matches!(self.named, Type::Never(_))
    }
}

/// The kind of a type that lasts longer than the call, and its output or items.
fn found(written: &Type) -> Option<(Kind, Option<Type>)> {
    match written {
        Type::ImplTrait(opaque) => of_bounds(&opaque.bounds),
        Type::TraitObject(object) => of_bounds(&object.bounds),
        Type::Path(_) => {
            let segment = last(written)?;
            let inner = arguments(segment)
                .into_iter()
                .flat_map(|arguments| &arguments.args)
                .filter_map(|argument| match argument {
                    GenericArgument::Type(inner) => Some(bare(inner)),
                    _ => None,
                })
                .last();
            match segment.ident.to_string().as_str() {
                "Pin" | "Box" => found(inner?),
                "BoxFuture" | "LocalBoxFuture" => Some((Kind::Future, inner.cloned())),
                "BoxStream" | "LocalBoxStream" => Some((Kind::Stream, inner.cloned())),
                _ => None,
            }
        }
        _ => None,
    }
}

fn of_bounds(bounds: &Punctuated<TypeParamBound, Token![+]>) -> Option<(Kind, Option<Type>)> {
    bounds.iter().find_map(|bound| {
        let TypeParamBound::Trait(bound) = bound else {
            return None;
        };
        let segment = bound.path.segments.last()?;
        let (kind, name) = match segment.ident.to_string().as_str() {
            "Future" => (Kind::Future, "Output"),
            "Stream" => (Kind::Stream, "Item"),
            "Iterator" | "DoubleEndedIterator" | "ExactSizeIterator" | "FusedIterator" => (Kind::Iterator, "Item"),
            _ => return None,
        };
        let associated = arguments(segment)
            .into_iter()
            .flat_map(|arguments| &arguments.args)
            .find_map(|argument| match argument {
                GenericArgument::AssocType(associated) if associated.ident == name => Some(associated.ty.clone()),
                _ => None,
            });
        Some((kind, associated))
    })
}

fn last(written: &Type) -> Option<&PathSegment> {
    match written {
        Type::Path(path) => path.path.segments.last(),
        _ => None,
    }
}

fn arguments(segment: &PathSegment) -> Option<&AngleBracketedGenericArguments> {
    match &segment.arguments {
        PathArguments::AngleBracketed(arguments) => Some(arguments),
        _ => None,
    }
}

/// A type without brackets around it, also the invisible ones of a macro's `$ty`.
fn bare(written: &Type) -> &Type {
    match written {
        Type::Group(group) => bare(&group.elem),
        Type::Paren(paren) => bare(&paren.elem),
        other => other,
    }
}

/// A type as a closure may have it for its return type: `_` for each `impl Trait`.
fn named(mut written: Type) -> Type {
    struct Opaque;

    impl VisitMut for Opaque {
        fn visit_type_mut(&mut self, part: &mut Type) {
            if let Type::ImplTrait(_) = part {
                *part = infer();
            } else {
                visit_mut::visit_type_mut(self, part);
            }
        }
    }

    Opaque.visit_type_mut(&mut written);
    written
}

fn infer() -> Type {
    Type::Infer(TypeInfer {
        attrs: Vec::new(),
        underscore_token: Token![_](proc_macro2::Span::mixed_site()),
    })
}
