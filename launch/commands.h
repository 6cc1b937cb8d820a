/* The subcommands of `laurel`. Each takes the arguments after its name and returns the exit status:
 * 0 done, 1 the user's input or the machine is at fault (one sentence on stderr), 2 wrong usage. */
#ifndef LRL_COMMANDS_H
#define LRL_COMMANDS_H

int lrl_command_doctor(int argc, char **argv);
int lrl_command_bench(int argc, char **argv);
int lrl_command_reward(int argc, char **argv);
int lrl_command_sft(int argc, char **argv);
int lrl_command_ppo(int argc, char **argv);
int lrl_command_eval(int argc, char **argv);
int lrl_command_score(int argc, char **argv);
int lrl_command_filter(int argc, char **argv);
int lrl_command_report(int argc, char **argv);
int lrl_command_data(int argc, char **argv);
int lrl_command_generate(int argc, char **argv);
int lrl_command_bon_curve(int argc, char **argv);
int lrl_command_sweep(int argc, char **argv);
int lrl_command_plan(int argc, char **argv);
int lrl_command_convert(int argc, char **argv);

#endif
