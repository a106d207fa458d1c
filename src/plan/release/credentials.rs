//! Credentials in the place of an endpoint: a JDBC URL may hold them in three ways, and none of them may reach a plan,
//! a record or the screen.

/// Parameters of a JDBC URL that say where the data is. Whatever else stands there may be a password by a name that
/// nobody here has heard of, and no restore needs it.
const PLACES: [&str; 5] = ["database", "databasename", "alloydbinstancename", "servicename", "instancename"];

/// The endpoint without user info, without the defaults of placeholders, and of parameters only those that name a place.
/// Where what is left does not look like hosts and a path, only the kind of URL is: `jdbc:mysql:`.
pub fn without(endpoint: &str) -> String {
    let endpoint = placeholders(endpoint.trim());
    let (kind, rest) = scheme(&endpoint);
    let (head, parameters) = rest.find(['?', ';']).map_or((rest, ""), |at| rest.split_at(at));
    let slashes = if head.starts_with("//") { "//" } else { "" };
    let place = match head.rsplit_once('@') {
        // Oracle's thin driver begins its place with it, user or not: `thin:scott/tiger@//host`.
        Some((_, place)) => format!("{}{place}", if kind.ends_with("thin:") { "@" } else { slashes }),
        None => head.to_owned(),
    };
    if !is_place(&place) {
        return kind.to_owned();
    }
    format!("{kind}{place}{}", kept(parameters))
}

/// Whether a value that is to be written somewhere would bring credentials along.
pub fn are_in(value: &str) -> bool {
    if !value.contains("://") && !value.contains("jdbc:") {
        return false;
    }
    let (_, rest) = scheme(value);
    let (head, parameters) = rest.find(['?', ';']).map_or((rest, ""), |at| rest.split_at(at));
    // `@` alone is how Oracle's thin driver begins a place.
    head.rsplit_once('@').is_some_and(|(user, _)| !user.trim_matches('/').is_empty())
        || head.split(['(', ',', ')']).any(is_secret)
        || parameters.split(['?', '&', ';']).any(is_secret)
}

/// Whether a property of this name holds a secret.
pub fn is_named(key: &str) -> bool {
    let key = key.to_ascii_lowercase().replace('-', "_");
    let ends = [
        "password",
        "passwd",
        "passphrase",
        "pwd",
        "secret",
        "token",
        "secret_key",
        "cipher_key",
        "private_key",
        "private_key_pem",
        "license_key",
        "access_key",
        "account_key",
        "api_key",
    ];
    ends.iter().any(|end| key.ends_with(end))
        || ["password", "secretkey", "accesstoken"].iter().any(|end| key.replace(['_', '.'], "").ends_with(end))
}

fn is_secret(parameter: &str) -> bool {
    let name = parameter.split('=').next().unwrap_or_default().trim();
    parameter.contains('=') && (is_named(name) || name.eq_ignore_ascii_case("user"))
}

/// `jdbc:mysql:`, `jdbc:oracle:thin:`, `https:` and what follows; nothing of hosts or a region.
fn scheme(endpoint: &str) -> (&str, &str) {
    let mut end = 0;
    if endpoint.starts_with("jdbc:") {
        end = "jdbc:".len();
        while let Some(at) = endpoint[end..].find(':') {
            let word = &endpoint[end..end + at];
            // A drive, a host with its port and a placeholder are no words of the kind.
            if word.is_empty() || !word.chars().all(|c| c.is_ascii_alphanumeric() || c == '+' || c == '-') || at < 2 {
                break;
            }
            end += at + 1;
        }
    } else if let Some(at) = endpoint.find("://") {
        end = at + 1;
    }
    endpoint.split_at(end)
}

/// Hosts with ports, a path, a placeholder without its default: nothing that could be a secret by mistake.
fn is_place(place: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-:/,[]${}\\@".contains(c);
    let oracle = place.strip_prefix('@').unwrap_or(place);
    let authority = oracle.trim_start_matches('/').split('/').next().unwrap_or_default();
    let hosts = authority.replace("${env:", "${").replace("${sys:", "${");
    let port = |port: &str| port.starts_with("${") || port.chars().all(|c| c.is_ascii_digit());
    let with_authority = oracle.starts_with("//");
    place.chars().all(plain)
        && !oracle.contains('@')
        && (!with_authority || hosts.split(',').all(|host| host.starts_with('[') || host.split(':').skip(1).all(port)))
}

/// The parameters that are kept, with the sign that they began with.
fn kept(parameters: &str) -> String {
    let Some(sign) = parameters.chars().next() else { return String::new() };
    let between = if sign == '?' { "&" } else { ";" };
    let names_a_place = |p: &&str| {
        let (name, value) = p.split_once('=').unwrap_or((p, ""));
        PLACES.contains(&name.to_ascii_lowercase().as_str()) && is_place(value)
    };
    let kept: Vec<&str> = parameters.split(['?', '&', ';']).filter(names_a_place).collect();
    if kept.is_empty() { String::new() } else { format!("{sign}{}", kept.join(between)) }
}

/// `${env:NAME}` for `${env:NAME:-default}` and for a template's `{{ default .Env.NAME "" }}`.
fn placeholders(text: &str) -> String {
    let mut made = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("${").into_iter().chain(rest.find("{{")).min() {
        made.push_str(&rest[..at]);
        let inside = &rest[at + 2..];
        if rest[at..].starts_with("{{") {
            let (template, after) = inside.split_once("}}").unwrap_or((inside, ""));
            let name = template.split(".Env.").nth(1).unwrap_or_default();
            let name: String = name.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            made.push_str(&format!("${{env:{name}}}"));
            rest = after;
        } else {
            let end = closing(inside);
            made.push_str(&format!("${{{}}}", inside[..end].split(":-").next().unwrap_or_default()));
            rest = inside.get(end + 1..).unwrap_or_default();
        }
    }
    made + rest
}

/// Where the brace is that closes the one before `text`; a default may hold placeholders of its own.
fn closing(text: &str) -> usize {
    let mut depth = 1;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_says_where_a_database_is_stays() {
        for plain in [
            "ap-northeast-1",
            "https://account.documents.azure.com:443/",
            "cassandra-0.cassandra,cassandra-1.cassandra",
            "jdbc:mysql://db.demo:3306/",
            "jdbc:postgresql://[::1]:5432,b:5432/ledger",
            "jdbc:sqlserver://db:1433;databaseName=ledger",
            "jdbc:oracle:thin:@//db:1521/pdb1",
            "jdbc:oracle:thin:@db:1521:orcl",
            "jdbc:cloudspanner:/projects/p/instances/i/databases/d",
            "jdbc:postgresql:///db?alloydbInstanceName=projects/p/locations/l/clusters/c/instances/i",
            "jdbc:sqlite:/data/ledger.db",
            "${env:SCALAR_DB_CONTACT_POINTS}",
            "jdbc:mysql://${env:HOST}:3306/",
            "us-east-1/bucket",
        ] {
            assert_eq!(without(plain), plain);
            assert!(!are_in(plain), "{plain}");
        }
    }

    #[test]
    fn credentials_are_cut_out_wherever_they_stand() {
        for (url, left) in [
            ("jdbc:mysql://root:sesame@db:3306/x", "jdbc:mysql://db:3306/x"),
            ("jdbc:mysql://root:se/s@me@db:3306/x", "jdbc:mysql://db:3306/x"),
            ("jdbc:postgresql://db/x?user=u&password=sesame&ssl=true", "jdbc:postgresql://db/x"),
            ("jdbc:sqlserver://db;user=u;password=sesame;databaseName=x", "jdbc:sqlserver://db;databaseName=x"),
            ("jdbc:oracle:thin:scott/sesame@//db:1521/x", "jdbc:oracle:thin:@//db:1521/x"),
            ("jdbc:oracle:thin:scott/sesame@db:1521:x", "jdbc:oracle:thin:@db:1521:x"),
            ("jdbc:mysql://(host=db,user=u,password=sesame)/x", "jdbc:mysql:"),
            ("jdbc:db2://db:50000/x:user=u;password=sesame;", "jdbc:db2:"),
            ("https://u:sesame@account.documents.azure.com/", "https://account.documents.azure.com/"),
            ("jdbc:mysql://root:sesame?@db:3306/x", "jdbc:mysql:"),
            ("jdbc:postgresql://db/x?sslpassword=sesame", "jdbc:postgresql://db/x"),
        ] {
            assert_eq!(without(url), left, "{url}");
            assert!(!without(url).contains("sesame"));
        }
        for url in [
            "jdbc:mysql://root:sesame@db/",
            "jdbc:oracle:thin:scott/tiger@db:1521:x",
            "jdbc:postgresql://db/x?user=u",
            "jdbc:sqlserver://db;Password=p",
            "jdbc:mysql://(host=db,password=p)/x",
        ] {
            assert!(are_in(url), "{url}");
        }
        assert!(!are_in("jdbc:sqlite:/x.db?busy_timeout=10000"));
    }

    #[test]
    fn a_placeholders_default_may_hold_one_too() {
        for (value, left) in [
            ("${env:URL:-jdbc:mysql://root:sesame@db/}", "${env:URL}"),
            ("${env:URL:-${env:OTHER:-sesame}}x", "${env:URL}x"),
            ("{{ default .Env.HELM_SCALAR_DB_CONTACT_POINTS \"sesame\" }}", "${env:HELM_SCALAR_DB_CONTACT_POINTS}"),
            ("jdbc:mysql://${env:USER}:${env:PASSWORD}@${env:HOST}/x", "jdbc:mysql://${env:HOST}/x"),
            ("${env:open", "${env:open}"),
        ] {
            assert_eq!(without(value), left);
        }
    }

    #[test]
    fn secrets_are_known_by_their_keys() {
        for key in [
            "scalar.db.password",
            "scalar.db.multi_storage.storages.x.password",
            "scalar.dl.ledger.authentication.hmac.cipher_key",
            "scalar.dl.ledger.servers.authentication.hmac.secret_key",
            "scalar.dl.ledger.proof.private_key_pem",
            "a.client-secret",
            "scalar.db.cluster.node.licensing.license_key",
            "trustStorePassword",
        ] {
            assert!(is_named(key), "{key}");
        }
        for key in ["scalar.db.contact_points", "scalar.db.username", "scalar.dl.ledger.proof.private_key_path"] {
            assert!(!is_named(key), "{key}");
        }
    }
}
