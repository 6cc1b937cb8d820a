#!/usr/bin/perl
# The mutants that mutate.sh tries: each takes one barrier, wait, event or fence out of a source file of C or
# CUDA, makes it weaker, or puts it in a wrong place.
# Usage: mutations.pl FILE          one a line: number, line, what is done, the text that changes
#        mutations.pl FILE NUMBER   the changed file
use strict;
use warnings;

my $p = qr/(?<paren>\((?:[^()]++|(?&paren))*+\))/;
my $target = qr/\w+(?:(?:->|\.)\w+)*(?:->|\.)/;
# What is found, what takes its place, what that is called. Calls become the value of success.
my @rules = (
  [qr/__syncthreads$p/,                         sub { '((void)0)' },   'no barrier'],
  [qr/__syncthreads_(?:or|and|count)$p/,        sub { $+{paren} },     'no barrier'],
  [qr/__syncwarp$p/,                            sub { '((void)0)' },   'no barrier of the warp'],
  [qr/__threadfence(?:_block|_system)?$p/,      sub { '((void)0)' },   'no fence'],
  [qr/asm\s+volatile\s*$p/,                     sub { '((void)0)' },   'no instruction',
    qr/\b(?:bar|barrier|fence|membar|commit_group|wait_group|wait_all)\b/],
  [qr/cp_async_commit$p/,                       sub { '((void)0)' },   'no group'],
  [qr/cp_async_wait<(\d+)>$p/,                  sub { '((void)0)' },   'no wait'],
  [qr/cp_async_wait<(\d+)>$p/,                  sub { 'cp_async_wait<' . ($1 + 1) . '>()' }, 'waits for one less'],
  [qr/(?<=_sync\()0xffffffffu/,                 sub { '0x0000ffffu' }, 'half of the warp'],
  [qr/\b__(?:pipeline_commit|pipeline_wait_prior)$p/, sub { '((void)0)' }, 'no wait'],
  [qr/\bcudaEventRecord$p/,                     sub { 'cudaSuccess' }, 'no event'],
  [qr/\bcudaEventRecord\(([^,()]+(?:\[[^\]]*\])?),\s*((?:[^()]++|$p)*)\)/,
    sub { "cudaEventRecord($1, (cudaStream_t)0)" },                    'the event of another stream'],
  [qr/\bcudaStreamWaitEvent$p/,                 sub { 'cudaSuccess' }, 'no wait for the event'],
  [qr/\bcuda(?:Stream|Event|Device)Synchronize$p/, sub { 'cudaSuccess' }, 'no wait'],
  [qr/\bcuda(?:Stream|Event)Query$p/,           sub { 'cudaSuccess' }, 'no wait'],
  [qr/\bnccl(?:GroupStart|GroupEnd)$p/,         sub { 'ncclSuccess' }, 'no group'],
  [qr/\bcuda_wait(?:_event)?$p/,                sub { 'LRL_OK' },      'no wait'],
  [qr/\bcuda_flush$p/,                          sub { 'LRL_OK' },      'what was noted is not sent'],
  [qr/\blrl_ctx_sync$p/,                        sub { 'LRL_OK' },      'no wait'],
  [qr/\b(?:$target)?ops->use$p/,                sub { 'LRL_OK' },      'no wait for the collective'],
  [qr/\blrl_read$p/, sub { "(memcpy(" . join(',', (arguments($+{paren}))[1 .. 3]) . '), LRL_OK)' }, 'no wait'],
  [qr/\b(?:wait_for|wait_for_gather|lrl_param_ready|lrl_param_set_ready|lrl_comm_wait|lrl_shard_device_wait|wait_counter|next_part)$p/, sub { 'LRL_OK' }, 'no wait'],
);

sub arguments { # of a call
  my @parts = ('');
  my $depth = 0;
  for my $c (split //, substr($_[0], 1, -1)) {
    $depth += ($c eq '(') - ($c eq ')');
    $c eq ',' && $depth == 0 ? push(@parts, '') : ($parts[-1] .= $c);
  }
  return @parts;
}

my ($file, $wanted) = @ARGV;
open(my $in, '<', $file) or die "$file: $!\n";
my $text = do { local $/; <$in> };
my $code = $text; # without comments, at the same places
$code =~ s{("(?:[^"\\\n]|\\.)*")|(/\*.*?\*/|//[^\n]*)}{defined $1 ? $1 : $2 =~ s/[^\n]/ /gr}gse;
my @found;
for my $rule (@rules) {
  my ($what, $by, $name, $holds) = @$rule;
  while ($code =~ /$what/g) {
    my ($from, $to, $new) = ($-[0], $+[0], $by->());
    next if defined $holds && substr($code, $from, $to - $from) !~ $holds;
    next if substr($code, $to) =~ /^\s*\{/; # where it is defined
    next if substr($code, 0, $from) =~ /\b(?:lrl_status|cudaError_t|void)\s+$/; # or declared
    push @found, [$from, $to, $new, $name];
  }
}
@found = sort { $a->[0] <=> $b->[0] || $a->[3] cmp $b->[3] } @found;
if (defined $wanted) {
  my ($from, $to, $by) = @{$found[$wanted]};
  substr($text, $from, $to - $from) = $by . "\n" x (substr($text, $from, $to - $from) =~ tr/\n//);
  print $text;
  exit;
}
for my $i (0 .. $#found) {
  my ($from, $to, $by, $name) = @{$found[$i]};
  my $line = 1 + substr($text, 0, $from) =~ tr/\n//;
  (my $old = substr($text, $from, $to - $from)) =~ s/\s+/ /g;
  print "$i\t$line\t$name\t$old\n";
}
