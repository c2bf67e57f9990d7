package cli

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"consort/shared/userapi"
)

func (a *App) siteCommand() *cobra.Command {
	cmd := group("site", "See the sites of the federation, invite new ones",
		`A site is a cluster that runs jobs by its agent, which asks the server for work; the server never connects to
a site.`,
		a.siteListCommand(), a.siteAddCommand(), a.siteRevokeCommand())
	cmd.Aliases = []string{"sites"}
	return cmd
}

func (a *App) siteListCommand() *cobra.Command {
	cmd := command("ls", "List the sites",
		`List the sites with their state: invited, enrolled, online, offline or revoked.`,
		"  consort site ls\n  consort site ls -o json",
		arguments(0, 0), func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			list, err := c.Sites(cmd.Context())
			if err != nil {
				return err
			}
			if a.output == jsonFormat {
				return a.printJSON(list.Sites)
			}
			rows := make([][]string, len(list.Sites))
			for i, s := range list.Sites {
				slots := ""
				if s.Slots > 0 {
					slots = fmt.Sprintf("%d of %d", s.Free, s.Slots)
				}
				rows[i] = []string{s.Name, s.State, s.Batch, slots, strconv.Itoa(s.Running), timeText(s.LastSeen), s.Title}
			}
			return a.printTable([]string{"NAME", "STATE", "BATCH", "FREE SLOTS", "RUNNING", "LAST SEEN (UTC)", "TITLE"}, rows)
		})
	cmd.Aliases = []string{"list"}
	return cmd
}

func (a *App) siteAddCommand() *cobra.Command {
	var title string
	cmd := command("add NAME", "Invite a site",
		`Invite a site: make a one-time token with which its agent enrols. The command to run at the site is printed on
standard output. The token is shown only now and ends soon; if it is lost, invite the site again.`,
		`  consort site add meudon --title "Observatoire de Paris, Meudon"`,
		arguments(1, 1), func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			invitation, err := c.AddSite(cmd.Context(), userapi.AddSite{Name: args[0], Title: title})
			if err != nil {
				return operatorsOnly(err)
			}
			if a.output == jsonFormat {
				return a.printJSON(invitation)
			}
			a.say("Run this at the site before %s UTC. The token in it is shown only once:", timeText(invitation.Expires))
			_, err = fmt.Fprintln(a.Out, cell(invitation.Command))
			return err
		})
	cmd.Flags().StringVar(&title, "title", "", "`name` of the site for people")
	cmd.ValidArgsFunction = cobra.NoFileCompletions
	return cmd
}

func (a *App) siteRevokeCommand() *cobra.Command {
	cmd := command("revoke NAME", "Refuse a site's key from now on",
		`Refuse a site's key from now on, for polls and for uploads, because it was stolen or the site has left. What the
site runs at the moment is lost to it when its lease ends. To take the site in again, invite it anew.`,
		"  consort site revoke meudon",
		arguments(1, 1), func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			if err := c.RevokeSite(cmd.Context(), args[0]); err != nil {
				return operatorsOnly(err)
			}
			a.say("%s is revoked.", args[0])
			return nil
		})
	cmd.ValidArgsFunction = cobra.NoFileCompletions
	return cmd
}
