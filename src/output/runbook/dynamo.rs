//! Amazon DynamoDB: a table is restored to another name only, and the releases know it by its own. So it takes two hops,
//! and what the service does not bring along is set again.

use super::Restoring;
use super::page::Page;
use crate::plan::Database;

/// The part about a database; of several tables each step is done for all before the next one begins.
pub(super) fn part(page: &mut Page, database: &Database, restoring: &Restoring<'_>) {
    tables(page, database, restoring);
    first_hop(page);
    second_hop(page);
    settings(page);
}

fn tables(page: &mut Page, database: &Database, restoring: &Restoring<'_>) {
    page.run(&super::variable("REGION", &database.endpoint, "the AWS region"));
    page.run(&format!("RUN={}\nAT={}", restoring.run(), restoring.at()));
    let whole = |table: &&String| table.ends_with(".*");
    let named: Vec<&str> = database.tables.iter().filter(|t| !whole(t)).map(String::as_str).collect();
    page.run(&format!("TABLES=({})", named.join(" ")));
    for namespace in database.tables.iter().filter(whole).filter_map(|t| t.strip_suffix('*')) {
        page.run(&format!(
            "TABLES+=($(aws dynamodb list-tables --region \"$REGION\" --query \"TableNames[?starts_with(@, '{namespace}')]\" \
             --output text))"
        ));
    }
    page.say(
        "All tables of the application must be among them, and the Coordinator's (NAMESPACE.state): one that is left out \
         stays at another instant. No properties name an application's own tables. List what is there, and add what is \
         missing with TABLES+=(NAMESPACE.TABLE). ScalarDB's own scalardb.metadata and scalardb.namespaces describe the \
         tables: they stay as they are unless the schema was changed since.",
    );
    page.run("aws dynamodb list-tables --region \"$REGION\" --query 'TableNames' --output text\necho \"${TABLES[@]}\"");
    page.say(
        "Point-in-time recovery must be ENABLED on each of them, and $AT lie between the two times. It reaches back 35 days \
         at most.",
    );
    page.run(&each(
        "aws dynamodb describe-continuous-backups --region \"$REGION\" --table-name \"$table\" \\\n    \
         --query 'ContinuousBackupsDescription.PointInTimeRecoveryDescription'",
    ));
}

fn first_hop(page: &mut Page) {
    page.say("");
    page.say(
        "First hop: to a table of another name at $AT, and a backup of that one. It touches no table that is in use: it can \
         be done right after the backup, while everything serves, and should be, for a backup of a table does not expire.",
    );
    page.run(&each(
        "aws dynamodb restore-table-to-point-in-time --region \"$REGION\" --source-table-name \"$table\" \\\n    \
         --target-table-name \"$table-$RUN\" --restore-date-time \"$AT\"",
    ));
    page.run(&each(&until("table-exists", "$table-$RUN")));
    page.run(&each(
        "aws dynamodb create-backup --region \"$REGION\" --table-name \"$table-$RUN\" --backup-name \"$table-$RUN\"",
    ));
    page.say("Go on only when there is one line for each table and every line says AVAILABLE.");
    page.run(&each(
        "aws dynamodb list-backups --region \"$REGION\" --table-name \"$table-$RUN\" \\\n    \
         --query 'BackupSummaries[].[BackupStatus,BackupName]' --output text",
    ));
}

fn second_hop(page: &mut Page) {
    page.say("");
    page.say("What a restored table does not have is kept in files, for the last step.");
    page.run(&each(
        "aws dynamodb describe-table --region \"$REGION\" --table-name \"$table\" > \"$table.table.json\"\n  \
         aws dynamodb describe-time-to-live --region \"$REGION\" --table-name \"$table\" > \"$table.ttl.json\"\n  \
         aws dynamodb list-tags-of-resource --region \"$REGION\" --resource-arn \"$(aws dynamodb describe-table \\\n    \
         --region \"$REGION\" --table-name \"$table\" --query Table.TableArn --output text)\" > \"$table.tags.json\"\n  \
         aws application-autoscaling describe-scalable-targets --region \"$REGION\" --service-namespace dynamodb \\\n    \
         --query \"ScalableTargets[?ResourceId=='table/$table' || starts_with(ResourceId, 'table/$table/')]\" \\\n    \
         > \"$table.targets.json\"\n  \
         aws application-autoscaling describe-scaling-policies --region \"$REGION\" --service-namespace dynamodb \\\n    \
         --query \"ScalingPolicies[?ResourceId=='table/$table' || starts_with(ResourceId, 'table/$table/')]\" \\\n    \
         > \"$table.policies.json\"",
    ));
    page.say("");
    page.say(
        "Second hop: the table's own name must be free. ONLY WITH EVERY BACKUP AVAILABLE, AND THE RELEASES STOPPED. A table \
         with deletion protection needs this first: aws dynamodb update-table --table-name TABLE \
         --no-deletion-protection-enabled",
    );
    // Nobody reads every line of a list of tables: the one whose backup failed would be gone.
    page.run(&each(&format!(
        "{BACKUP}\n  case \"$backup\" in\n    \
         arn:*) aws dynamodb delete-table --region \"$REGION\" --table-name \"$table\" ;;\n    \
         *) echo \"$table is NOT deleted: $table-$RUN has no backup\" ;;\n  esac"
    )));
    page.run(&each("aws dynamodb wait table-not-exists --region \"$REGION\" --table-name \"$table\""));
    page.run(&each(&format!(
        "{BACKUP}\n  \
         aws dynamodb restore-table-from-backup --region \"$REGION\" --target-table-name \"$table\" --backup-arn \"$backup\""
    )));
    page.run(&each(&until("table-exists", "$table")));
    page.run(&each("aws dynamodb delete-table --region \"$REGION\" --table-name \"$table-$RUN\""));
}

fn settings(page: &mut Page) {
    page.say("");
    page.say(
        "A restored table has none of these: point-in-time recovery (without it the next backup is worth nothing), \
         autoscaling, tags, time to live, streams, deletion protection, alarms and policies. Its capacity mode is the \
         default. Set them again as the files say.",
    );
    page.run(&each(
        "aws dynamodb update-continuous-backups --region \"$REGION\" --table-name \"$table\" \\\n    \
         --point-in-time-recovery-specification PointInTimeRecoveryEnabled=true",
    ));
    page.template(
        "aws dynamodb update-table --table-name TABLE --billing-mode PAY_PER_REQUEST\n\
         aws application-autoscaling register-scalable-target --service-namespace dynamodb --resource-id table/TABLE \\\n  \
         --scalable-dimension dynamodb:table:ReadCapacityUnits --min-capacity MIN --max-capacity MAX\n\
         aws application-autoscaling put-scaling-policy --service-namespace dynamodb --resource-id table/TABLE \\\n  \
         --scalable-dimension dynamodb:table:ReadCapacityUnits --policy-name NAME \\\n  \
         --policy-type TargetTrackingScaling --target-tracking-scaling-policy-configuration file://POLICY.json\n\
         aws dynamodb tag-resource --resource-arn ARN --tags Key=KEY,Value=VALUE\n\
         aws dynamodb update-time-to-live --table-name TABLE --time-to-live-specification Enabled=true,AttributeName=NAME\n\
         aws dynamodb update-table --table-name TABLE --stream-specification StreamEnabled=true,StreamViewType=TYPE\n\
         aws dynamodb update-table --table-name TABLE --deletion-protection-enabled",
    );
    page.say("Writes and global indexes (table/TABLE/index/INDEX) scale by targets and policies of their own.");
}

/// Finds the backup of a table of the first hop, also after that table is gone.
const BACKUP: &str = "backup=$(aws dynamodb list-backups --region \"$REGION\" --table-name \"$table-$RUN\" \\\n    \
    --query \"BackupSummaries[?BackupStatus=='AVAILABLE'] | [0].BackupArn\" --output text)";

/// For each table.
fn each(commands: &str) -> String {
    format!("for table in \"${{TABLES[@]}}\"; do\n  {commands}\ndone")
}

/// A restore takes longer than the CLI waits by itself.
fn until(state: &str, table: &str) -> String {
    format!("until aws dynamodb wait {state} --region \"$REGION\" --table-name \"{table}\"; do sleep 10; done")
}
