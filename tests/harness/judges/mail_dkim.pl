# Verifies every DKIM signature of a message with Mail::DKIM.
#
#     mail_dkim.pl MESSAGE ZONE
#
# ZONE is JSON: {"name": ["TXT record", ...]}; a name that is not there does not exist. Prints a line for each
# signature from top to bottom: ALGORITHM DOMAIN SELECTOR pass|REASON.
use strict;
use warnings;
use JSON::PP;
use Mail::DKIM::Verifier;

my ($message_file, $zone_file) = @ARGV;
my $zone = decode_json(slurp($zone_file));

# Answers come from the zone; the module's own lookup would ask the machine's nameservers.
{
    no warnings 'redefine';
    *Mail::DKIM::DNS::query = sub {
        my ($name, $type) = @_;
        return map { bless { text => $_ }, 'Record' } @{ $zone->{ lc $name } // [] };
    };
    *Mail::DKIM::DNS::query_async = sub {
        my ($name, $type, %param) = @_;
        my @records = Mail::DKIM::DNS::query($name, $type);
        return sub { $param{Callbacks}{Success}->(@records) };
    };
}

my $verifier = Mail::DKIM::Verifier->new;
$verifier->PRINT(slurp($message_file));
$verifier->CLOSE;
for my $signature ($verifier->signatures) {
    my $verdict = $signature->result // 'none';
    $verdict = $signature->result_detail unless $verdict eq 'pass';
    print join(' ', $signature->get_tag('a'), $signature->domain, $signature->selector, $verdict), "\n";
}

sub slurp {
    my ($file) = @_;
    open my $handle, '<:raw', $file or die "$file: $!\n";
    local $/;
    return scalar <$handle>;
}

package Record;
sub type { return 'TXT' }
sub txtdata { return $_[0]{text} }
sub char_str_list { return $_[0]{text} }
