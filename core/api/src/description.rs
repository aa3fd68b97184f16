//! The OpenAPI document: what the routes say of themselves, and what goes without saying.

use utoipa::openapi::{
    OpenApi, PathItem, RefOr, Required,
    path::{Operation, Parameter, ParameterBuilder, ParameterIn},
    schema::{ObjectBuilder, Type},
};

/// Adds the parameters that stand in paths: they are all texts, but for numbers.
pub fn complete(mut document: OpenApi) -> OpenApi {
    for (path, item) in &mut document.paths.paths {
        let names: Vec<String> = path
            .split('/')
            .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}').map(str::to_owned))
            .collect();
        for operation in operations(item) {
            let parameters = operation.parameters.get_or_insert_default();
            for name in &names {
                let known = parameters.iter().any(|known| match known {
                    RefOr::T(known) => {
                        known.name == *name && matches!(known.parameter_in, ParameterIn::Path)
                    }
                    RefOr::Ref(_) => false,
                });
                if !known {
                    parameters.push(RefOr::T(parameter(name)));
                }
            }
        }
    }
    document
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch]
        .into_iter()
        .flatten()
}

fn parameter(name: &str) -> Parameter {
    let kind = if ["id", "revision"].contains(&name) { Type::Integer } else { Type::String };
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .schema(Some(ObjectBuilder::new().schema_type(kind)))
        .build()
}
