//! Amazon DynamoDB: a table is restored to another name only, and the releases know it by its own. So it takes two hops,
//! and what the service does not bring along is set again.
//!
//! Between the hops a table's backup is its only copy. Nothing is deleted but what was seen to be in another place, and
//! each loop can be run again after it failed.

use jiff::SignedDuration;

use super::Restoring;
use super::page::Page;
use crate::plan::Database;
use crate::plan::release::expiry::DYNAMO_DAYS;
use crate::typed::quoted;

/// What the commands below have in common.
const FUNCTIONS: &str = include_str!("dynamo.sh");

/// The part about a database; of several tables each step is done for all before the next one begins.
pub(super) fn part(page: &mut Page, database: &Database, restoring: &Restoring<'_>) {
    tables(page, database, restoring);
    first_hop(page, restoring);
    second_hop(page);
    settings(page);
}

fn tables(page: &mut Page, database: &Database, restoring: &Restoring<'_>) {
    page.run(&super::variable("REGION", &database.endpoint, "the AWS region"));
    page.run(&format!("RUN={}\nAT={}", quoted(restoring.run()), restoring.at()));
    let (whole, named): (Vec<&String>, Vec<&String>) = database.tables.iter().partition(|t| t.ends_with(".*"));
    let named: Vec<String> = named.into_iter().map(|table| quoted(table)).collect();
    page.run(&format!("TABLES=({})", named.join(" ")));
    let whole: Vec<String> =
        whole.into_iter().filter_map(|t| t.strip_suffix('*')).map(|t| format!("{}*", quoted(t))).collect();
    if !whole.is_empty() {
        page.say("Of these namespaces all tables, but not what this runbook makes beside them:");
        page.run(&format!(
            "for table in $(aws dynamodb list-tables --region \"$REGION\" --query TableNames --output text); do\n  \
             case \"$table\" in\n    *-\"$RUN\") ;;\n    {}) TABLES+=(\"$table\") ;;\n  esac\ndone",
            whole.join(" | ")
        ));
    }
    page.say(
        "All tables of the application must be among them, and that of the Coordinator (NAMESPACE.state): one that is left \
         out stays at another instant. No properties name the tables of an application. List what is there, and add what is \
         missing with TABLES+=(NAMESPACE.TABLE). Those of ScalarDB itself, scalardb.metadata and scalardb.namespaces, \
         describe the tables: they stay as they are unless the schema was changed since.",
    );
    page.run("aws dynamodb list-tables --region \"$REGION\" --query TableNames --output text\necho \"${TABLES[@]}\"");
    page.say(&format!(
        "Point-in-time recovery must be ENABLED on each of them, and $AT lie between the two times. It reaches back \
         {DYNAMO_DAYS} days at most."
    ));
    page.run(&each(
        "aws dynamodb describe-continuous-backups --region \"$REGION\" --table-name \"$table\" \\\n    \
         --query ContinuousBackupsDescription.PointInTimeRecoveryDescription",
    ));
    page.say("What the steps below have in common; it does nothing yet.");
    page.run(FUNCTIONS);
}

fn first_hop(page: &mut Page, restoring: &Restoring<'_>) {
    page.say("");
    let last = restoring.instant + SignedDuration::from_hours(24 * DYNAMO_DAYS);
    page.say(&format!(
        "First hop: to a table of another name at $AT, and a backup of that one. It touches no table that is in use, so it \
         can be done right after the window, while everything serves. It must be done before {last:.0} at the latest, when \
         no recovery reaches back to $AT any more; its backups do not expire."
    ));
    page.run(&each(
        "again aws dynamodb restore-table-to-point-in-time --region \"$REGION\" --source-table-name \"$table\" \\\n    \
         --target-table-name \"$table-$RUN\" --restore-date-time \"$AT\"",
    ));
    page.run(&each(
        "[ -n \"$(backup_of \"$table\")\" ] && continue\n  \
         made \"$table-$RUN\" && again aws dynamodb create-backup --region \"$REGION\" \\\n    \
         --table-name \"$table-$RUN\" --backup-name \"$table-$RUN\"",
    ));
    page.say("Go on only when every line says AVAILABLE. A loop that failed can be run again.");
    page.run(&each(
        "echo \"$table: $(aws dynamodb list-backups --region \"$REGION\" --table-name \"$table-$RUN\" \\\n    \
         --query \"BackupSummaries[].BackupStatus\" --output text)\"",
    ));
}

fn second_hop(page: &mut Page) {
    page.say("");
    page.say("What a restored table does not have is kept in files, for the last step.");
    page.run(&each(
        "keep \"$table-$RUN.table.json\" aws dynamodb describe-table --region \"$REGION\" --table-name \"$table\"\n  \
         keep \"$table-$RUN.ttl.json\" aws dynamodb describe-time-to-live --region \"$REGION\" --table-name \"$table\"\n  \
         keep \"$table-$RUN.tags.json\" aws dynamodb list-tags-of-resource --region \"$REGION\" \\\n    \
         --resource-arn \"$(aws dynamodb describe-table --region \"$REGION\" --table-name \"$table\" \\\n    \
         --query Table.TableArn --output text)\"\n  \
         keep \"$table-$RUN.targets.json\" aws application-autoscaling describe-scalable-targets --region \"$REGION\" \\\n    \
         --service-namespace dynamodb \\\n    \
         --query \"ScalableTargets[?ResourceId=='table/$table' || starts_with(ResourceId, 'table/$table/')]\"\n  \
         keep \"$table-$RUN.policies.json\" aws application-autoscaling describe-scaling-policies --region \"$REGION\" \\\n    \
         --service-namespace dynamodb \\\n    \
         --query \"ScalingPolicies[?ResourceId=='table/$table' || starts_with(ResourceId, 'table/$table/')]\"",
    ));
    page.say("");
    page.say(
        "Second hop: the own name of the table must be free. ONLY WITH EVERY BACKUP AVAILABLE, AND THE RELEASES STOPPED. A \
         table with deletion protection needs this first:",
    );
    page.template("aws dynamodb update-table --region \"$REGION\" --table-name TABLE --no-deletion-protection-enabled");
    // Nobody reads every line of a list of tables: the one whose backup failed would be gone.
    page.run(&each(
        "backup=$(backup_of \"$table\")\n  \
         if [ -z \"$backup\" ]; then\n    \
         echo \"$table is NOT deleted: $table-$RUN has no backup\"\n  \
         elif is_from \"$table\" \"$backup\"; then\n    \
         echo \"$table is restored already\"\n  \
         elif [ -s \"$table-$RUN.table.json\" ]; then\n    \
         aws dynamodb delete-table --region \"$REGION\" --table-name \"$table\"\n  \
         else\n    \
         echo \"$table is NOT deleted: $table-$RUN.table.json does not have its settings\"\n  \
         fi",
    ));
    page.run(&each(
        "backup=$(backup_of \"$table\")\n  \
         if [ -z \"$backup\" ]; then\n    \
         echo \"$table is NOT restored: $table-$RUN has no backup\"\n  \
         elif is_from \"$table\" \"$backup\"; then\n    \
         echo \"$table is restored already\"\n  \
         elif gone \"$table\"; then\n    \
         again aws dynamodb restore-table-from-backup --region \"$REGION\" --target-table-name \"$table\" \\\n      \
         --backup-arn \"$backup\"\n  \
         fi",
    ));
    page.say("The copy beside a table goes only when the table is seen to come from its backup.");
    // A table that could not be deleted is there too, with the old data.
    page.run(&each(
        "backup=$(backup_of \"$table\")\n  \
         if [ -n \"$backup\" ] && made \"$table\" && is_from \"$table\" \"$backup\"; then\n    \
         echo \"$table is restored\"\n    \
         aws dynamodb delete-table --region \"$REGION\" --table-name \"$table-$RUN\"\n  \
         else\n    \
         echo \"$table is NOT restored; $table-$RUN stays\"\n  \
         fi",
    ));
    page.say("Go on only when every table is restored. These loops can be run again too.");
}

fn settings(page: &mut Page) {
    page.say("");
    page.say(
        "A restored table has none of these: point-in-time recovery (without it the next backup is worth nothing), \
         autoscaling, tags, time to live, streams, deletion protection, alarms and policies. Its capacity mode is the \
         default. Set them again as the files say. Every line must say ENABLED:",
    );
    page.run(&each(
        "again aws dynamodb update-continuous-backups --region \"$REGION\" --table-name \"$table\" \\\n    \
         --point-in-time-recovery-specification PointInTimeRecoveryEnabled=true\n  \
         echo \"$table: $(aws dynamodb describe-continuous-backups --region \"$REGION\" --table-name \"$table\" --output text \\\n    \
         --query ContinuousBackupsDescription.PointInTimeRecoveryDescription.PointInTimeRecoveryStatus)\"",
    ));
    page.template(
        "aws dynamodb update-table --region \"$REGION\" --table-name TABLE --billing-mode PAY_PER_REQUEST\n\
         aws application-autoscaling register-scalable-target --region \"$REGION\" --service-namespace dynamodb \\\n  \
         --resource-id table/TABLE --scalable-dimension dynamodb:table:ReadCapacityUnits \\\n  \
         --min-capacity MIN --max-capacity MAX\n\
         aws application-autoscaling put-scaling-policy --region \"$REGION\" --service-namespace dynamodb \\\n  \
         --resource-id table/TABLE --scalable-dimension dynamodb:table:ReadCapacityUnits --policy-name NAME \\\n  \
         --policy-type TargetTrackingScaling --target-tracking-scaling-policy-configuration file://POLICY.json\n\
         aws dynamodb tag-resource --region \"$REGION\" --resource-arn ARN --tags Key=KEY,Value=VALUE\n\
         aws dynamodb update-time-to-live --region \"$REGION\" --table-name TABLE \\\n  \
         --time-to-live-specification Enabled=true,AttributeName=NAME\n\
         aws dynamodb update-table --region \"$REGION\" --table-name TABLE \\\n  \
         --stream-specification StreamEnabled=true,StreamViewType=TYPE\n\
         aws dynamodb update-table --region \"$REGION\" --table-name TABLE --deletion-protection-enabled",
    );
    page.say("Writes and global indexes (table/TABLE/index/INDEX) scale by targets and policies of their own.");
}

/// For each table.
fn each(commands: &str) -> String {
    format!("for table in \"${{TABLES[@]}}\"; do\n  {commands}\ndone")
}
