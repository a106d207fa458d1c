//! Azure Cosmos DB: the account is restored as another one, without stored procedures and with a weaker consistency.

use super::Restoring;
use super::page::Page;
use crate::plan::Database;
use crate::plan::release::Product;
use crate::typed::quoted;

/// The longest name of an account.
const LONGEST: usize = 44;

/// The part about a database.
pub(super) fn part(page: &mut Page, database: &Database, restoring: &Restoring<'_>) {
    let account = account(&database.endpoint);
    page.run(&super::variable("ACCOUNT", account.unwrap_or(&database.endpoint), "the account"));
    match account {
        Some(account) => page.run(&format!("NEW={}", quoted(&named(account, restoring.run())))),
        None => page.run("NEW=\"$ACCOUNT-restored\"  # 3 to 44 characters, lower case"),
    }
    page.run(&format!("AT={}", restoring.at()));
    page.run(
        "GROUP=$(az cosmosdb list --query \"[?name=='$ACCOUNT'].resourceGroup | [0]\" --output tsv)\n\
         LOCATION=$(az cosmosdb show --resource-group \"$GROUP\" --name \"$ACCOUNT\" \\\n  \
         --query 'writeLocations[0].locationName' --output tsv)",
    );
    page.say(
        "The account must have continuous backups, and the oldest restorable time be before $AT. They reach back 7 or 30 \
         days, by its tier.",
    );
    page.run(
        "az cosmosdb restorable-database-account list --account-name \"$ACCOUNT\" \\\n  \
         --query '[].[accountName,oldestRestorableTime,deletionTime]' --output table",
    );
    page.say("Into another account, which takes long; the old one stays as it is.");
    page.run(
        "az cosmosdb restore --resource-group \"$GROUP\" --account-name \"$ACCOUNT\" --location \"$LOCATION\" \\\n  \
         --target-database-account-name \"$NEW\" --restore-timestamp \"$AT\"",
    );
    page.say("ScalarDB needs Strong; the restored account has the default.");
    page.run("az cosmosdb update --resource-group \"$GROUP\" --name \"$NEW\" --default-consistency-level Strong");
    page.say(
        "Not restored either: firewall, private endpoints, role assignments, and the key. The key of the new account goes \
         into the Secret that the release takes it from (scalar.db.password), from this command, not over a command line:",
    );
    page.template("az cosmosdb keys list --resource-group \"$GROUP\" --name \"$NEW\" --type keys");
    page.say("The new endpoint:");
    page.run("ENDPOINT=$(az cosmosdb show --resource-group \"$GROUP\" --name \"$NEW\" --query documentEndpoint --output tsv)");
}

/// What brings back the stored procedures of a release's tables.
pub(super) fn schema_loader(page: &mut Page, product: Option<Product>) {
    page.say(
        "Stored procedures are not restored, and ScalarDB works by them: the Schema Loader installs them again. Its own \
         properties must have endpoint and key of the new account first.",
    );
    let helm = |name: &str| {
        format!(
            "helm install repair-schema-{name} scalar-labs/schema-loading -n NAMESPACE -f VALUES-OF-THE-SCHEMA-LOADER.yaml \\\n  \
             --set \"schemaLoading.commandArgs={{--repair-all}}\""
        )
    };
    match product {
        Some(Product::Ledger) => page.template(&helm("ledger")),
        Some(Product::Auditor) => page.template(&helm("auditor")),
        _ => page.template(
            "java -jar scalardb-schema-loader-VERSION.jar --config database.properties -f SCHEMA.json --coordinator --repair-all",
        ),
    }
}

/// The account of `https://ACCOUNT.documents.azure.com:443/`.
pub(super) fn account(endpoint: &str) -> Option<&str> {
    let host = endpoint.strip_prefix("https://")?;
    host.split('.').next().filter(|account| !account.is_empty() && !account.contains('$'))
}

/// A name for the restored account, which bears the run.
fn named(account: &str, run: &str) -> String {
    let room = LONGEST.saturating_sub(run.len() + 1);
    let short: String = account.chars().take(room).collect();
    format!("{}-{run}", short.trim_end_matches('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restored_account_has_a_name_that_azure_takes() {
        assert_eq!(named("shop", "20261120-101500-x7k2"), "shop-20261120-101500-x7k2");
        let long = named("a-very-long-account-na-me-that-is-used", "20261120-101500-x7k2");
        assert_eq!(long, "a-very-long-account-na-20261120-101500-x7k2");
        assert!(long.len() <= LONGEST);
        assert_eq!(account("https://shop.documents.azure.com:443/"), Some("shop"));
        assert_eq!(account("${env:SCALAR_DB_CONTACT_POINTS}"), None);
    }
}
