//! Classifies the return type of a function by its signature.

use syn::punctuated::Punctuated;
use syn::visit_mut::{self, VisitMut};
use syn::{
    AngleBracketedGenericArguments, GenericArgument, PathArguments, PathSegment, ReturnType, Token, Type, TypeInfer,
    TypeParamBound,
};

/// Determines when the span of a call ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// When the function returns.
    Value,
    /// When the returned future completes.
    Future,
    /// When the returned stream ends.
    Stream,
    /// When the returned iterator ends.
    Iterator,
}

/// A classified return type.
pub(crate) struct Returns {
    pub(crate) kind: Kind,
    /// Whether the traced value must be boxed again.
    pub(crate) is_boxed: bool,
    /// Type of the future's output or of the items; `_` if the signature does not name it.
    pub(crate) output: Type,
    /// Whether the name of the type ends in `Result`.
    pub(crate) is_result: bool,
    /// The type with `_` in place of each `impl Trait`.
    pub(crate) named: Type,
}

impl Returns {
    /// Classifies a return type. `explicit` overrides the kind that the type shows.
    pub(crate) fn of(signature: &ReturnType, explicit: Option<Kind>) -> Self {
        let written = match signature {
            ReturnType::Type(_, written) => bare(written).clone(),
            ReturnType::Default => Type::Tuple(syn::parse_quote!(())),
        };
        let (kind, output) = match (explicit, deferred(&written)) {
            (Some(explicit), Some((kind, output))) if explicit == kind => (kind, output),
            (Some(explicit), _) => (explicit, None),
            (None, Some(deferred)) => deferred,
            (None, None) => (Kind::Value, None),
        };
        Self {
            kind,
            is_boxed: !matches!(written, Type::ImplTrait(_)),
            output: output.map_or_else(infer, without_opaque),
            is_result: last_segment(&written).is_some_and(|segment| segment.ident.to_string().ends_with("Result")),
            named: without_opaque(written),
        }
    }

    pub(crate) fn is_unit(&self) -> bool {
        matches!(&self.named, Type::Tuple(tuple) if tuple.elems.is_empty())
    }

    pub(crate) fn is_never(&self) -> bool {
        matches!(self.named, Type::Never(_))
    }
}

/// Returns the kind of a future, stream or iterator type, and the type of its output or items.
fn deferred(written: &Type) -> Option<(Kind, Option<Type>)> {
    match written {
        Type::ImplTrait(opaque) => kind_of_bounds(&opaque.bounds),
        Type::TraitObject(object) => kind_of_bounds(&object.bounds),
        Type::Path(_) => {
            let segment = last_segment(written)?;
            let inner = arguments(segment)
                .into_iter()
                .flat_map(|arguments| &arguments.args)
                .filter_map(|argument| match argument {
                    GenericArgument::Type(inner) => Some(bare(inner)),
                    _ => None,
                })
                .last();
            match segment.ident.to_string().as_str() {
                "Pin" | "Box" => deferred(inner?),
                "BoxFuture" | "LocalBoxFuture" => Some((Kind::Future, inner.cloned())),
                "BoxStream" | "LocalBoxStream" => Some((Kind::Stream, inner.cloned())),
                _ => None,
            }
        }
        _ => None,
    }
}

fn kind_of_bounds(bounds: &Punctuated<TypeParamBound, Token![+]>) -> Option<(Kind, Option<Type>)> {
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

fn last_segment(written: &Type) -> Option<&PathSegment> {
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

/// Strips parentheses, including the invisible ones of a macro's `$ty`.
fn bare(written: &Type) -> &Type {
    match written {
        Type::Group(group) => bare(&group.elem),
        Type::Paren(paren) => bare(&paren.elem),
        other => other,
    }
}

/// Replaces each `impl Trait` by `_`, as the return type of a closure requires.
fn without_opaque(mut written: Type) -> Type {
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
