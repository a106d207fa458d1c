//! Which names hold secrets: of variables, options, keys of files and headers.

/// Wherever one of these stands in a name, its value is a secret.
const ANYWHERE: &str = "PASSWORD PASSWD PASSPHRASE PASSCODE SECRET CREDENTIAL APIKEY REQUIREPASS MASTERAUTH USERPASS";
/// These only as a word of their own: `KEYSPACE` and `BYPASS` are none, and `NUM_TOKENS` counts ranges.
const AS_WORD: &str = "KEY PASS PWD PW PSK TOKEN";
/// Ends of a word that was run together: `DBPASS`, `authtoken`, `ACCESSKEY`.
const WORD_ENDS: &str = "PASS PWD TOKEN ACCESSKEY ACCOUNTKEY MASTERKEY PRIVATEKEY SHAREDKEY SIGNINGKEY ENCRYPTIONKEY STORAGEKEY \
    LICENSEKEY";
/// Words that end like them and mean something else.
const NO_WORD_ENDS: &str = "BYPASS COMPASS ENCOMPASS OLDPWD";
/// Last words of a name whose value is a secret or a method: `REDISCLI_AUTH`, `proxy-authorization`.
const LAST: &str = "AUTH AUTHORIZATION COOKIE";
/// Last words of a name that only describes a secret: `password_encryption`, `KEY_BUFFER_SIZE`, `TOKEN_FILE`.
const DESCRIBES: &str = "AGE ALGORITHM ALG AUDIENCE AUTHENTICATION CACHE CHARACTERS CHECK CHECKS COST COUNT DAYS DIGITS DIR \
    DIRECTORY ENABLED ENCRYPTION ENDPOINT EXPIRATION EXPIRY FIELD FILE FILENAME FILES FOLDER FORMAT HEADER \
    HISTORY HOST HOURS INTERVAL ISSUER ITERATIONS LEN LENGTH LETTERS LIFETIME LIMIT LOCATION MANAGEMENT MAX \
    METHOD MIN MINUTES MODE NAME NAMES NAMESPACE PATH PERCENT PERIOD PLUGIN POLICY PORT PREFIX PROVIDER REF \
    REFS RELOAD REQUIRED ROTATION ROUNDS SCOPE SECONDS SIZE STORE SUPPORT THRESHOLD TIMEOUT TTL TYPE URI URL \
    VALIDATION VALIDITY VERSION";
/// Keys that everybody may know, by the word before.
const OPEN_KEYS: &str = "PUBLIC PARTITION SORT FOREIGN ROUTING CACHE TOPOLOGY LABEL ANNOTATION SHARD ROW";
/// First words of a switch, and of a name of an object that has the secret.
const SWITCHES: &str = "NO SKIP WITHOUT ASK PROMPT USE REQUIRE ENABLE DISABLE ALLOW EXISTING";

/// Whether this word stands in a list.
pub(super) fn stands_in(list: &str, word: &str) -> bool {
    list.split_whitespace().any(|known| known == word)
}

/// The words of a name in capitals: `keyStorePassword`, `KEY_STORE_PASSWORD` and `key.store-password1` are the same.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before = ' ';
    for c in name.chars() {
        if !c.is_ascii_alphanumeric() || (c.is_ascii_uppercase() && before.is_ascii_lowercase()) {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| c.is_ascii_alphanumeric()) {
            word.push(c.to_ascii_uppercase());
        }
        before = c;
    }
    let numbered = words.iter().map(|word| word.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned());
    numbered.filter(|word| !word.is_empty()).collect()
}

/// Whether something of this name holds a secret.
pub(super) fn is_secret(name: &str) -> bool {
    let words = words(name);
    let (Some(first), Some(last)) = (words.first(), words.last()) else { return false };
    if stands_in(DESCRIBES, last) || stands_in(SWITCHES, first) {
        return false;
    }
    let flat = words.concat();
    if ANYWHERE.split_whitespace().any(|part| flat.contains(part)) || stands_in(LAST, last) {
        return true;
    }
    // A key's number or the one of its variable, not the key: AWS_ACCESS_KEY_ID.
    if last == "ID" && words.iter().rev().nth(1).is_some_and(|word| word == "KEY") {
        return false;
    }
    words.iter().enumerate().any(|(n, word)| {
        let open = word == "KEY" && n.checked_sub(1).is_some_and(|n| stands_in(OPEN_KEYS, &words[n]));
        let ends = WORD_ENDS.split_whitespace().any(|end| word.ends_with(end)) && !stands_in(NO_WORD_ENDS, word);
        !open && (stands_in(AS_WORD, word) || ends)
    })
}

/// Whether it may also hold the name of a method: `authorization: enabled`, `--auth=md5`.
pub(super) fn is_method(name: &str) -> bool {
    let words = words(name);
    // REDISCLI_AUTH is always the password itself.
    words.last().is_some_and(|last| stands_in(LAST, last)) && !words.iter().any(|word| word.starts_with("REDIS"))
}

/// Whether it may also hold the name of a file with the secret in it: `--tls-key client.key`.
pub(super) fn may_be_file(name: &str) -> bool {
    let words = words(name);
    words.last().is_some_and(|last| last.ends_with("KEY") || last.starts_with("CREDENTIAL"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets_are_known_in_every_spelling() {
        let secrets = "POSTGRES_PASSWORD, MYSQL_PASSWD, PGPASS, PGPASSWORD, DB_PWD, DB_PW, DBPASS, DBPWD, API_KEY, \
             apiKey, api-key, X-Api-Key, AWS_SECRET_ACCESS_KEY, AccountKey, accountkey, Account Key, \
             SharedAccessKey, REDISCLI_AUTH, requirepass, masterauth, authToken, AUTHTOKEN, X-Vault-Token, \
             Authorization, proxy-authorization, Cookie, RABBITMQ_ERLANG_COOKIE, \
             javax.net.ssl.keyStorePassword, tls-key-file-pass, SECRET_KEY_BASE, VAULT_SECRET_ID, PASSWORD1, \
             POSTGRES_PASSWORD_2, ADMIN_PASSWORD_HASH, ORACLE_PWD, ENCRYPTION_KEY, LicenseKey, TLS_PSK, \
             ssl_passphrase_command, GOOGLE_APPLICATION_CREDENTIALS, clientSecret, JWT_SECRET, token, -pw";
        for name in secrets.split(", ") {
            assert!(is_secret(name), "{name}");
        }
        let others = "POSTGRES_PASSWORD_FILE, POSTGRES_HOST_AUTH_METHOD, CASSANDRA_KEYSPACE, CASSANDRA_NUM_TOKENS, \
             password_encryption, key-buffer-size, key_cache_block_size, foreign-key-checks, PUBLIC_KEY, \
             SSH_PUBLIC_KEY, partitionKey, ssl_key_file, TOKEN_URL, token_ttl, auth-host, auth_type, \
             auth_file, validate_password_policy, validate_password.length, simple_password_check_digits, \
             default_password_lifetime, password_history, AWS_ACCESS_KEY_ID, \
             innodb_default_encryption_key_id, BYPASS, OLDPWD, SECRET_NAME, secretKeyRef, existingSecret, \
             REQUIRE_PASSWORD, no-password, keyStoreType, keyStore, file_key_management_filename, \
             notify-keyspace-events, max_connections, authentication_timeout, PasswordAuthentication, monkey, \
             tokenizer, author";
        for name in others.split(", ").chain([""]) {
            assert!(!is_secret(name), "{name}");
        }
    }
}
