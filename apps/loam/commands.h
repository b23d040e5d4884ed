/* commands.h - the subcommands of loam, one file each; argv[0] is the command's name. */
#ifndef LOAM_COMMANDS_H
#define LOAM_COMMANDS_H

int loam_cmd_convert(int argc, char **argv);
int loam_cmd_ingest(int argc, char **argv);
int loam_cmd_info(int argc, char **argv);
int loam_cmd_search(int argc, char **argv);
int loam_cmd_template(int argc, char **argv);
int loam_cmd_tokenize(int argc, char **argv);
int loam_cmd_pull(int argc, char **argv);
int loam_cmd_embed(int argc, char **argv);
int loam_cmd_rerank(int argc, char **argv);
int loam_cmd_generate(int argc, char **argv);
int loam_cmd_perplexity(int argc, char **argv);

#endif
